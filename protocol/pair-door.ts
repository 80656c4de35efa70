// Who may come to pair, and the answer to each: what a side that issues invites gives to its node. Strangers are let in
// only while an invite or a code lives, and not from a host whose pairings failed too often.
import type { ByteChannel } from "./channel.ts";
import type { Invites } from "./invite.ts";
import { answerPairing } from "./pair.ts";
import { createSlowdown, type Slowdown } from "./slowdown.ts";
import type { Pin, Trust } from "./trust.ts";

export interface PairingSide {
  /** This side's peer ID. */
  readonly me: string;
  /** What it is called in the other side's list. */
  readonly name: string;
  readonly invites: Invites;
  readonly trust: Trust;
  /** Who pairs here dials this side from now on, also one that was dialled before. */
  readonly joinersDial?: boolean;
  /** Once the pin is on disk; whether the answer arrives is not known then. */
  readonly onPaired?: (pin: Pin, host: string) => void;
  /** Why it was refused: for the issuer's own log and audit, never for the peer. */
  readonly onRefused?: (reason: string, peer: string, host: string) => void;
  readonly slowdown?: Slowdown;
}

/** The two fit a node's options of the same names. */
export interface PairingDoor {
  /** Whether a peer that is not trusted may have a connection, for pairing and nothing else. */
  pairingOpen(peer: string, host: string): boolean;
  /** Answers one pairing, and resolves when that is over. Every failure looks the same to the peer. */
  onPair(channel: ByteChannel, peer: string, host: string): Promise<void>;
}

export function openPairingDoor(side: PairingSide): PairingDoor {
  const { me, name, invites, trust, joinersDial = false, slowdown = createSlowdown() } = side;
  return {
    // Without a word: whoever dials again and again would fill the audit. A peer that was removed, or that goes on under
    // another key, is any other stranger: the invite that it used lets it in no more.
    pairingOpen(peer, host) {
      const isOver = trust.removed().some((one) => one.peer === peer) || trust.current(peer) !== undefined;
      return invites.openTo(isOver && !trust.has(peer) ? "" : peer) && !slowdown.slowed(host);
    },
    async onPair(channel, peer, host) {
      // It may have got its connection before the others from its host failed.
      const waits = slowdown.slowed(host) ? "its host failed to pair too often, and has to wait" : undefined;
      const outcome = await answerPairing(channel, {
        me,
        them: peer,
        name,
        invites,
        trust,
        joinersDial,
        ...(waits === undefined ? {} : { waits }),
        onPaired: (pin) => side.onPaired?.(pin, host),
        onRefused: (reason) => side.onRefused?.(reason, peer, host),
      });
      if (outcome !== "wrong") return;
      const waitMs = slowdown.failed(host);
      // Said once for each wait: whoever comes meanwhile is not let in, without a word.
      if (waitMs > 0)
        side.onRefused?.(`so many pairings failed that ${host} has to wait ${waitMs / 1_000} s`, peer, host);
    },
  };
}
