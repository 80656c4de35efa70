// The policy file as a JSON Schema, for editors: what `runner policy schema` prints. policy-file.ts is what decides; a test
// holds the two together.
import { kinds } from "./policy.ts";

const items = {
  description: "true: everything of the kind; else what is listed.",
  anyOf: [{ const: true }, { type: "array", items: { type: "string" } }],
};
const byKind = {
  type: "object",
  additionalProperties: false,
  properties: Object.fromEntries(kinds.map((kind) => [kind, { $ref: "#/$defs/items" }])),
};
const grants = {
  allow: { description: "true: everything.", anyOf: [{ const: true }, { $ref: "#/$defs/byKind" }] },
  deny: { description: "Wins over whatever is allowed.", $ref: "#/$defs/byKind" },
};
const peer = { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,69}$" };

export const policySchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Policy of a Sortie runner",
  type: "object",
  additionalProperties: false,
  properties: {
    $schema: { type: "string" },
    ...grants,
    peers: {
      description: "Grants of one coordinator, by its name or its peer ID in `runner trust list`.",
      type: "object",
      propertyNames: peer,
      additionalProperties: { type: "object", additionalProperties: false, properties: grants },
    },
    groups: {
      description: "Grants of those who were invited into a group, and of its members.",
      type: "object",
      propertyNames: { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$" },
      additionalProperties: {
        type: "object",
        additionalProperties: false,
        properties: { ...grants, members: { type: "array", items: peer } },
      },
    },
  },
  $defs: { items, byKind },
} as const;
