import assert from "node:assert/strict";
import { test } from "node:test";
import { greet } from "./greet.js";

test("everybody is greeted", () => assert.equal(greet("Ann, Ben"), "Hello, ann and ben!"));
