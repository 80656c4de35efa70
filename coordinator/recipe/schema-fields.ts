// What a schema says of its own keys. Standard Schema has no words for that, so it is read where it is known to stand:
// in the JSON Schema that newer libraries give (zod, arktype), or in the schema itself (valibot, and zod's that no JSON
// Schema can express). Where neither is there, nothing is known: params.ts then goes by what the schema passed on.
import type { StandardSchema } from "./schema.ts";

export interface Field {
  readonly key: string;
  /** As a person reads it: `number`, `"a" | "b"`. */
  readonly type?: string;
  readonly default?: unknown;
  readonly description?: string;
  readonly required?: boolean;
}

/** The keys of a schema of an object; `undefined` where they cannot be known. */
export const fieldsOf = (schema: StandardSchema): Field[] | undefined =>
  fieldsOfJsonSchema(schema) ?? fieldsOfEntries(schema);

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

/** https://standardschema.dev/json-schema */
function fieldsOfJsonSchema(schema: StandardSchema): Field[] | undefined {
  const { jsonSchema } = schema["~standard"] as { jsonSchema?: { input?: (options: object) => unknown } };
  let described: unknown;
  try {
    described = jsonSchema?.input?.({ target: "draft-2020-12" });
  } catch {
    // Not everything that a schema can check can be said in JSON Schema.
  }
  if (!isObject(described) || !isObject(described["properties"])) return undefined;
  // A schema that takes any other key knows them all.
  if (isObject(described["additionalProperties"])) return undefined;
  const required = new Set(Array.isArray(described["required"]) ? described["required"] : []);
  return Object.entries(described["properties"]).map(([key, property]) => {
    const { type, enum: choices, const: only, default: fallback, description } = isObject(property) ? property : {};
    const values = Array.isArray(choices) ? choices : only === undefined ? undefined : [only];
    const named = values?.map((value) => JSON.stringify(value)).join(" | ") ?? type;
    return {
      key,
      ...(typeof named === "string" ? { type: named } : {}),
      ...(fallback === undefined ? {} : { default: fallback }),
      ...(typeof description === "string" ? { description } : {}),
      required: required.has(key) && fallback === undefined,
    };
  });
}

/** valibot's `entries`, each perhaps within `optional`; of zod's `shape` the names alone. */
function fieldsOfEntries(schema: StandardSchema): Field[] | undefined {
  const { entries, shape, type } = schema as { entries?: unknown; shape?: unknown; type?: unknown };
  if (isObject(entries) && type !== "object_with_rest" && type !== "loose_object")
    return Object.entries(entries).map(([key, entry]) => {
      const { wrapped, default: fallback } = (isObject(entry) ? entry : {}) as { wrapped?: unknown; default?: unknown };
      const inner = isObject(wrapped) ? wrapped : entry;
      const expects = isObject(inner) ? inner["expects"] : undefined;
      const description = descriptionIn(entry) ?? descriptionIn(wrapped);
      return {
        key,
        ...(typeof expects === "string" ? { type: expects.replace(/^\((.*)\)$/, "$1") } : {}),
        ...(fallback === undefined || typeof fallback === "function" ? {} : { default: fallback }),
        ...(description === undefined ? {} : { description }),
        required: wrapped === undefined,
      };
    });
  return isObject(shape) ? Object.keys(shape).map((key) => ({ key })) : undefined;
}

function descriptionIn(entry: unknown): string | undefined {
  const pipe = isObject(entry) && Array.isArray(entry["pipe"]) ? (entry["pipe"] as unknown[]) : [];
  const found = pipe.findLast((item) => isObject(item) && item["type"] === "description");
  return isObject(found) && typeof found["description"] === "string" ? found["description"] : undefined;
}
