import { describe, expect, it } from "vitest";
import { beginExchange, lengthsAndValues } from "../../protocol/cpace.ts";

/** Of draft-irtf-cfrg-cpace, "Test vector for CPace using group ristretto255 and hash SHA-512". */
const vector = {
  secret: "50617373776f7264",
  channel: "6f630b425f726573706f6e6465720b415f696e69746961746f72",
  session: "7e4b4791d6a8ef019b936c79fb7f2c57",
  ya: "da3d23700a9e5699258aef94dc060dfda5ebb61f02a5ea77fad53f4ff0976d08",
  Ya: "d40fb265a7abeaee7939d91a585fe59f7053f982c296ec413c624c669308f87a",
  yb: "d2316b454718c35362d83d69df6320f38578ed5984651435e2949762d900b80d",
  Yb: "08bcf6e9777a9c313a3db6daa510f2d398403319c2341bd506a92e672eb7e307",
  key: "4c5469a16b2364c4b944ebc1a79e51d1674ad47db26e8718154f59faebfaa52d8346f30aa58377117eb20d527f2cbc5c76381f7fd372e89df8239f87f2e02ed1",
} as const;
const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");
const setting = { secret: bytes(vector.secret), channel: bytes(vector.channel), session: bytes(vector.session) };
const [ADa, ADb] = [Buffer.from("ADa"), Buffer.from("ADb")];
const initiator = { share: bytes(vector.Ya), data: ADa };
const responder = { share: bytes(vector.Yb), data: ADb };

describe("CPace", () => {
  it("gives the shares and the key of the draft's test vector, on both sides", () => {
    const one = beginExchange("initiator", setting, bytes(vector.ya));
    const other = beginExchange("responder", setting, bytes(vector.yb));
    expect(one.share.toString("hex")).toBe(vector.Ya);
    expect(other.share.toString("hex")).toBe(vector.Yb);
    expect(one.key(initiator, responder).toString("hex")).toBe(vector.key);
    expect(other.key(initiator, responder).toString("hex")).toBe(vector.key);
  });

  it("takes none of the draft's invalid shares: what is no element, and the neutral one", () => {
    const invalid = ["2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c", "00".repeat(32)];
    // As long as an element, but above the field's prime, negative, and of another length.
    for (const share of [...invalid, "ff".repeat(32), `01${"00".repeat(31)}`, "00", ""]) {
      const exchange = beginExchange("responder", setting, bytes(vector.yb));
      expect(() => exchange.key({ share: bytes(share), data: ADa }, responder)).toThrow();
    }
  });

  it("makes another key where anything differs: secret, parties, session, data, or who began", () => {
    const ended = (changed: object, messages = [initiator, responder] as const): string =>
      beginExchange("responder", { ...setting, ...changed }, bytes(vector.yb))
        .key(...messages)
        .toString("hex");
    const keys = [
      ended({}),
      ended({ session: Buffer.from("other") }),
      ended({}, [{ ...initiator, data: ADb }, responder]),
      ended({}, [initiator, { ...responder, data: ADa }]),
    ];
    for (const changed of [{ secret: Buffer.from("other") }, { channel: Buffer.from("other") }]) {
      const one = beginExchange("initiator", setting);
      const other = beginExchange("responder", { ...setting, ...changed });
      const messages = [
        { share: one.share, data: ADa },
        { share: other.share, data: ADb },
      ] as const;
      expect(one.key(...messages)).not.toEqual(other.key(...messages));
    }
    expect(new Set(keys).size).toBe(keys.length);
  });

  it("has new shares each time", () => {
    expect(beginExchange("initiator", setting).share).not.toEqual(beginExchange("initiator", setting).share);
  });

  it("writes lengths as the draft does", () => {
    // Its test vectors for prepend_len.
    expect(lengthsAndValues(Buffer.alloc(0)).toString("hex")).toBe("00");
    expect(lengthsAndValues(Buffer.from("1234")).toString("hex")).toBe("0431323334");
    expect(lengthsAndValues(Buffer.alloc(127)).subarray(0, 2).toString("hex")).toBe("7f00");
    expect(lengthsAndValues(Buffer.alloc(128)).subarray(0, 3).toString("hex")).toBe("800100");
  });
});
