// What a recipe's params are described by: any Standard Schema (https://standardschema.dev, version 1), such as those
// of valibot, zod and arktype. The types are that specification's.

/** A schema of any library that follows the Standard Schema specification. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** A value as the schema has it, or what is wrong with it. */
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

/** One thing that is wrong, and where. */
export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

type TypesOf<Schema extends StandardSchema> = NonNullable<Schema["~standard"]["types"]>;

/** What a schema takes. */
export type SchemaInput<Schema extends StandardSchema> = TypesOf<Schema>["input"];

/** What a schema makes of it. */
export type SchemaOutput<Schema extends StandardSchema> = TypesOf<Schema>["output"];

/** A schema may be an object, as valibot's and zod's are, or a function, as arktype's. */
export function isSchema(value: unknown): value is StandardSchema {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  const standard: unknown = (value as Partial<StandardSchema>)["~standard"];
  return typeof standard === "object" && standard !== null && "validate" in standard;
}

/** What is wrong, behind where in the value: `items.0.name: not a text`. */
export function issueText({ message, path = [] }: SchemaIssue): string {
  const where = path.map((part) => String(typeof part === "object" ? part.key : part)).join(".");
  return where === "" ? message : `${where}: ${message}`;
}

/** The name of what an issue is about, at the top of the value; `undefined` where it is about all of it. */
export function keyOf({ path }: SchemaIssue): string | undefined {
  const [first] = path ?? [];
  if (first === undefined) return undefined;
  return String(typeof first === "object" ? first.key : first);
}
