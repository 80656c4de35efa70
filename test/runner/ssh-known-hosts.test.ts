import { execFileSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fingerprint, judge, keyType, knownTypes, recordedName } from "../../runner/keeper/backends/ssh/known-hosts.ts";
import { sshKeygen, whyNoSshd } from "../rig/sshd.ts";

const key = (type: string, byte: number): Buffer => {
  const name = Buffer.from(type);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(name.length);
  return Buffer.concat([length, name, Buffer.alloc(4), Buffer.alloc(32, byte)]);
};
const mine = key("ssh-ed25519", 1);
const other = key("ssh-ed25519", 2);
const rsa = key("ssh-rsa", 3);
const line = (hosts: string, bytes: Buffer, marker = ""): string =>
  `${marker}${hosts} ${keyType(bytes)} ${bytes.toString("base64")} a comment\n`;
const hashed = (name: string): string => {
  const salt = Buffer.alloc(20, 7);
  return `|1|${salt.toString("base64")}|${createHmac("sha1", salt).update(name).digest("base64")}`;
};
const file = (text: string, path = "known_hosts") => ({ path, text });

describe("known_hosts", () => {
  it.each([
    ["plain", "web1", "web1"],
    ["one of a list", "10.0.0.1,web1", "web1"],
    ["in capitals", "Web1", "WEB1"],
    ["with its port", "[web1]:2222", "[web1]:2222"],
    ["hashed", hashed("web1"), "web1"],
    ["hashed with its port", hashed("[web1]:2222"), "[web1]:2222"],
    ["by a pattern", "*.example.org", "a.example.org"],
    ["by a pattern of one character", "web?", "web1"],
    ["an IPv6 address", "::1", "::1"],
  ])("knows a host that stands there %s", (_, hosts, name) => {
    expect(judge([file(line(hosts, mine))], name, mine)).toEqual({ kind: "known" });
    expect(judge([file(line(hosts, mine))], name, other)).toEqual({ kind: "changed", at: "known_hosts:1" });
  });

  it.each([
    ["another name", "web2", "web1"],
    ["another port", "[web1]:2222", "[web1]:22"],
    ["the name without its port", "web1", "[web1]:2222"],
    ["a pattern that excludes it", "*.example.org,!a.example.org", "a.example.org"],
    ["another hashed name", hashed("web2"), "web1"],
    ["a longer name", "web1", "web10"],
    ["a dot that stands for itself", "a.b", "aXb"],
  ])("does not know a host by %s", (_, hosts, name) => {
    expect(judge([file(line(hosts, mine))], name, mine)).toEqual({ kind: "unknown", authority: false });
  });

  it("looks through several files and lines, comments and broken ones too", () => {
    const files = [
      file(`# web1 a comment\n\n${line("web1", other)}nonsense\nweb1 ssh-ed25519\n`, "one"),
      file(`\t${line("web1", mine)}`, "two"),
    ];
    expect(judge(files, "web1", mine)).toEqual({ kind: "known" });
    expect(judge(files, "web1", rsa)).toEqual({ kind: "changed", at: "one:3" });
    expect(knownTypes([...files, file(line("web1", rsa))], "web1")).toEqual(["ssh-ed25519", "ssh-rsa"]);
    expect(knownTypes(files, "web2")).toEqual([]);
  });

  it("refuses a revoked key wherever else it stands, and takes no certificate authority for a key", () => {
    const files = [file(line("web1", mine)), file(line("*", mine, "@revoked "), "revoked")];
    expect(judge(files, "web1", mine)).toEqual({ kind: "revoked", at: "revoked:1" });
    expect(judge([file(line("*", mine, "@cert-authority "))], "web1", mine)).toEqual({
      kind: "unknown",
      authority: true,
    });
    expect(knownTypes([file(line("*", mine, "@cert-authority "))], "web1")).toEqual([]);
  });

  it("names a host as OpenSSH does", () => {
    expect(recordedName("Web1", 22, undefined)).toBe("web1");
    expect(recordedName("web1", 2222, undefined)).toBe("[web1]:2222");
    expect(recordedName("web1", 2222, "cluster")).toBe("cluster");
  });
});

const why = whyNoSshd();
if (why) console.log(why);
describe.skipIf(why)("known_hosts of OpenSSH's own making", () => {
  const folder = mkdtempSync(join(tmpdir(), "sortie-known-hosts-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("are read as they are: hashed by ssh-keygen, with its fingerprint", () => {
    const publicKey = sshKeygen(join(folder, "key"));
    const path = join(folder, "known_hosts");
    writeFileSync(path, `[web1]:2222,10.0.0.1 ${publicKey}\n`);
    execFileSync("ssh-keygen", ["-q", "-H", "-f", path], { stdio: "ignore" });
    const text = readFileSync(path, "utf8");
    expect(text).toMatch(/^\|1\|/);
    const bytes = Buffer.from(publicKey.split(" ")[1] ?? "", "base64");
    for (const name of ["[web1]:2222", "10.0.0.1"]) expect(judge([file(text)], name, bytes)).toEqual({ kind: "known" });
    expect(execFileSync("ssh-keygen", ["-lf", join(folder, "key.pub")], { encoding: "utf8" })).toContain(
      ` ${fingerprint(bytes)} `,
    );
  });
});
