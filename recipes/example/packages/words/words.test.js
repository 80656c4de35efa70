import assert from "node:assert/strict";
import { test } from "node:test";
import { words } from "./words.js";

test("words are what is between spaces and signs", () => assert.deepEqual(words("Hello, world!"), ["hello", "world"]));
test("a text without letters has no words", () => assert.deepEqual(words("1 + 1"), []));
