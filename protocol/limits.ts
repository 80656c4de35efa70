// Every limit of the wire and of what both sides hold in memory, each with its reason. Sizes are bytes, times milliseconds.

const KiB = 1024;
const MiB = 1024 * KiB;

export const limits = {
  /** The longest envelope: argv of 100,000 characters fits several times over; a peer cannot make us hold more. */
  envelopeBytes: 1 * MiB,
  /** The longest chunk a reader accepts. Payloads are passed on as they arrive, so this costs no memory. */
  chunkBytes: 16 * MiB,
  /** The longest chunk a writer makes: small enough that stderr and control never wait long behind stdout. */
  writtenChunkBytes: 256 * KiB,
  /** Control payloads are the only ones collected whole. */
  controlBytes: 64 * KiB,
  /** Unacknowledged bytes that a callee may have under way: four mebibytes fill a gigabit link at 32 ms round trip. */
  window: 4 * MiB,
  /** Stdin that waits at a runner for processes that do not read it: of one peer's jobs, 256 whole windows, and of all. */
  stdinPerPeerBytes: 1024 * MiB,
  stdinBytes: 2048 * MiB,
  windowMinimum: 64 * KiB,
  windowMaximum: 8 * MiB,
  /** Unread bytes a channel holds before it calls the peer a flood: the largest window, an envelope and some control. */
  channelUnreadBytes: 8 * MiB + 2 * MiB,
  /** Objects and arrays within each other, in JSON from a peer: the deepest message has about ten. */
  jsonDepth: 64,
  /** Concurrent calls on one connection; 1,000 is the promise, the rest is room for calls that are just closing. */
  callsPerConnection: 2_000,
  /**
   * Calls of one peer that are open, over all its connections; and how many it may begin at once, and then each second.
   * More wait, so that whoever means well only notices that it takes longer. A runner starts some 500 jobs a second.
   */
  callsPerPeer: 4_000,
  callsBurst: 4_000,
  callsPerSecond: 1_000,
  /**
   * Bytes that wait in memory for a reader, or for a peer that does not read: of one peer's calls, and of all. A thousand
   * jobs that all write to a coordinator that is held up wait with a quarter of a mebibyte each.
   */
  heldPerPeerBytes: 512 * MiB,
  heldBytes: 1024 * MiB,
  /** Of one connection beside its calls (answers to pings), for a peer that does not read; each is twenty times as long in memory. */
  connectionUnsentBytes: 4 * MiB,
  /** Streams of one peer that did not say yet what they are for, or that are calls, over all its connections. */
  streamsPerPeer: 5_000,
  /** What one peer sends is read for so long, and then what others sent: a call of theirs takes a few such turns. */
  turnMs: 5,
  /** Connections of one peer: each process of a coordinator has one of its own. */
  connectionsPerPeer: 256,
  /** Connections of one node. */
  connections: 2_000,
  /**
   * Connections in the middle of their handshake: 200 runners may dial in within one second. One more, from one address or
   * in all, and the oldest gives up its place: an honest handshake takes milliseconds, and a slow socket is always older.
   */
  pendingConnections: 1_000,
  pendingPerAddress: 500,
  /** New connections a second from one address; a fleet behind one NAT gateway dials in together after an outage. */
  newConnectionsPerSecond: 1_000,
  /** Of a handshake, which needs less than half of it. */
  handshakeBytes: 2 * KiB,
  /** A peer that is not trusted, but may pair, may send this much more; pairing needs less than 10 KiB. */
  unauthenticatedBytes: 16 * KiB,
  /** Strangers connected at a time while an invite lives: pairing is done by hand, one or two at once. */
  strangers: 64,
  /** The longest frame of a connection's streams, and with it the window of libp2p's own: no more can be asked for. */
  frameBytes: 16 * MiB,
  /** A handshake that is not through by now is a slow socket holding a place. */
  handshakeMs: 3_000,
  /** From a stream's beginning to what it is for. */
  negotiationMs: 10_000,
  /** A dial, to all addresses of a peer at once: one behind a firewall that answers nothing takes all of it. */
  dialMs: 6_000,
  /** A peer of which nothing was heard for so long is gone, though nothing was closed. Pings are sent three times as often. */
  silenceMs: 15_000,
  silenceMinimumMs: 1_000,
  socketIdleMs: 5 * 60_000,
  /** What other jobs can get of a job's output: the record keeps it, and functions hold it. */
  outputBytes: 1 * MiB,
  /** Objects and arrays within each other in that: what goes through it part by part must not run out of stack. */
  outputDepth: 500,
  /** What .text() and its like collect in the coordinator's memory, and the longest line of .lines(). */
  collectedBytes: 16 * MiB,
  /** Lines that a function logged and that are not stored yet. */
  functionLogBytes: 16 * MiB,
  /** A function is told that its job is over; whatever it still does then is not waited for any longer. */
  functionEndMs: 5_000,
  /** A lost connection is tried again after the first, doubled up to the second, each with jitter. */
  reconnectFirstMs: 100,
  reconnectMostMs: 5_000,
  /**
   * A runner that joined dials its coordinator again after at most this, since that listens only while one of its commands runs:
   * a try at a closed port costs nothing. And a try at a port that answers nothing, behind a firewall, lasts this long.
   */
  joinMostMs: 1_000,
  joinDialMs: 5_000,
  /** So long a command waits for a runner that dials by itself: twice the longest pause, and some round trips. */
  joinWaitMs: 2_500,
  /** It waits on while others come in, but no longer: a hundred at once, each with a handshake, take a few seconds. */
  joinLongestMs: 10_000,
  /** A process of this machine that was asked to wait so long answers by then, and this much later at most; or it is stopped. */
  joinAnswerMs: 1_000,
  /** Between two processes that listen nobody does: the one before takes this at most to stop its node, the next to start its own. */
  listenTurnMs: 10_000,
  /** A command that only waits for its turn to listen looks this often, as a runner does for coordinators: in a local file. */
  joinLookMs: 500,
  /** A connection that ended sooner, and over which nothing was called, was none: the coordinator most likely refuses. */
  joinSteadyMs: 1_000,
  /** After so many of those in a row the runner says so. */
  joinUnsteady: 3,
  /**
   * A runner that a run began with is asked again for so long where it is away when a job is to be given to it, or cannot put
   * that on record: a disk that is full most often has room again by then.
   */
  unreachableMs: 60_000,
  /** One that breaks every connection at its beginning, for so long, does not trust this side any more. */
  untrustedMs: 10_000,
  /** A coordinator looks for a detached job's runner for so long; for others as long as the lease. */
  reconnectDetachedMs: 24 * 60 * 60_000,
  /** A policy of a thousand coordinators fits; it is read while a job waits. */
  policyBytes: 1 * MiB,
  /** Questions about grants that wait for an answer at a terminal; what is more is denied at once. */
  grantQuestions: 16,
  /** Who does not answer by then is not there. */
  grantAnswerMs: 60_000,
  /** What --audit-only collects: more items than a command line would take. */
  auditedItems: 1_000,
  /** The most time a connection may take to say goodbye. */
  closeMs: 500,
  /** The same for the whole node, once its connections are closed. */
  stopMs: 5_000,
  /** A runner answers a question about itself or its jobs within this. */
  answerMs: 20_000,
  /** It takes a job, or refuses it, within this: a person may be asked there whether it is allowed. */
  acceptMs: 15 * 60_000,
  /** From an open stream to its first whole envelope. */
  firstEnvelopeMs: 10_000,
  /** Pairing: frame size, messages in all, and the whole exchange. */
  pairFrameBytes: 4 * KiB,
  pairMs: 10_000,
  /** Pairings under way, of one peer and in all: strangers reach this, and each may hold a few frames. */
  pairingsPerPeer: 2,
  pairingsAtOnce: 256,
  /** Strangers connected at a time from one host, of those above: one host alone must not keep others from pairing. */
  strangersPerHost: 8,
  /**
   * Pairings that fail before their host has to wait, what the first wait is (each one more doubles it), and the most
   * it gets to; a host that fails no more for so long is forgotten. Typing errors stay below, and guessing gets nowhere.
   */
  failedPairingsFree: 5,
  failedPairingsWaitMs: 10_000,
  failedPairingsWindowMs: 10 * 60_000,
  /** Hosts remembered for that, the ones that failed longest ago forgotten first: about 100 bytes each. */
  failedPairingsHosts: 4_096,
  inviteTtlMs: 10 * 60_000,
  /** A short code: how long at most, and wrong tries until it is burned; of its 2^40 values three were tried then. */
  codeTtlMs: 10 * 60_000,
  codeTries: 3,
  /**
   * A peer that has a new key is known by its old one for so long; who was not told by then pairs anew. Clocks may be a
   * day apart.
   */
  successionMs: 30 * 24 * 60 * 60_000,
  successionSkewMs: 24 * 60 * 60_000,
  /** New keys one after the other that are followed, and kept: nobody has that many in a month. */
  successions: 16,
  /** Invites alive at a time: each is one open door. */
  invitesAlive: 1_000,
  /** Processes of one coordinator look this often for a place in a full group: what they look at is a local file. */
  groupLookMs: 200,
  /** Places of one job: a function names each of them. */
  placesPerJob: 50,
  /** Runners that are tried for the places of one job, until it is said that they cannot be had: some ten milliseconds. */
  assignTries: 10_000,
  /** Steps of one job, and environment variables of one job: far above any recipe, far below what hurts. */
  stepsPerJob: 1_000,
  variablesPerJob: 1_000,
  /** Commands of one driven job that run at the same time: each holds three pipes and a session; how many in all is not limited. */
  commandsWithin: 1_000,
  /** Slots of one runner, and so of one job: far above what one machine runs at once. */
  slots: 10_000,
  /** Retries of a failed job: a runner takes up to 1,000 attempts, and what failed a hundred times is no accident. */
  retries: 100,
  /** The pause before a first retry, and the longest that doubling makes of it. */
  retryBackoffMs: 1_000,
  retryMostMs: 10 * 60_000,
  /** Cells of one matrix: what is more was most likely not meant, and a recipe may have several. */
  matrixCells: 1_000,
  /** The text of one param of a recipe: a whole file fits, and a mistake does not fill the record. */
  paramBytes: 1 * MiB,
  /** TERM to KILL, unless the job says otherwise. */
  graceMs: 5_000,
  graceMaximumMs: 10 * 60_000,
  /** A job whose owner is gone goes on for so long, unless the job or the runner says otherwise. */
  leaseMs: 5 * 60_000,
  leaseMinimumMs: 1_000,
  /** A segment of a journal: acknowledged ones can go one by one. */
  segmentBytes: 16 * MiB,
  /** What one journal may take of the disk, and all of a runner together; see docs/journal.md. */
  journalBytes: 1024 * MiB,
  journalsBytes: 10 * 1024 * MiB,
  journalMinimumBytes: 1 * MiB,
  /** Journals that are over and acknowledged are kept so long, and so many; those that nobody acknowledged, longer. */
  journalKeptMs: 24 * 60 * 60_000,
  journalsKept: 1_000,
  journalUnclaimedMs: 7 * 24 * 60 * 60_000,
  /** Journals that were kept long enough are looked for this often. */
  retainEveryMs: 10_000,
  /** Bytes of one journal, and of all, that wait in memory for the disk or for a reader that is a little behind. */
  journalMemoryBytes: 8 * MiB,
  journalsMemoryBytes: 64 * MiB,
  /** Readers of one job beside its owner, and what each may leave unread: a stalled one holds it in the front's memory. */
  readersPerJob: 100,
  readerWindow: 1 * MiB,
  /** While a job writes faster than the first, its readers get the second together: bytes a second. */
  readersYieldAbove: 32 * MiB,
  readersBytesPerSecond: 16 * MiB,
  /** A disk that is full is tried again after this. */
  journalRetryMs: 1_000,
  /** Jobs that /job/list tells, the latest first. */
  listedJobs: 1_000,
  /** Text of one /job/logs call; the next one goes on at its offset. */
  logsBytes: 1 * MiB,
  /** Of the audit, one file and how many are kept: some 200,000 jobs in all. */
  auditFileBytes: 4 * MiB,
  auditFiles: 16,
  /** What one field of a line holds of others' words, and what is listed of a job's wants. */
  auditCharacters: 300,
  auditWants: 50,
  /** Lines of strangers that were turned away, and of refused calls of one peer, in a minute; those after are counted. */
  auditStrangers: 20,
  auditRefusals: 60,
  auditCountMs: 60_000,
  /** Lines that wait in memory while they cannot be written, and how often that is tried. */
  auditWaiting: 10_000,
  auditRetryMs: 1_000,
  /** Lines that are told to the keeper at once: they fit an envelope many times over. */
  auditEvents: 100,
  /** A signed job is good for so long before and after the time it names: clocks differ, and networks dawdle. */
  signatureMs: 5 * 60_000,
  /** A keeper with no running job and no front leaves after this. */
  keeperIdleMs: 10_000,
  /** A keeper has come up within this. */
  keeperStartMs: 10_000,
  /** An engine that has not said who it is by then hangs; Podman, asked for forty containers at once, took over ten seconds. */
  engineAnswersMs: 30_000,
  /** To create, start, commit or remove: a slow disk copies a big image's files for minutes. */
  engineWorksMs: 10 * 60_000,
  /** What runs in a container is looked at before TERM and before KILL, which do not wait longer for it. */
  engineLookMs: 2_000,
  /** What an engine has begun to create or start when a job is cancelled is waited for so long, then removed later. */
  engineCancelledMs: 2_000,
  /** All that is left of a job is given back and removed within this; what is not, is asked for again later. */
  cleanedWithinMs: 60_000,
  /** A connection to an engine of which nothing is heard is asked, after so long, whether it is still there. */
  engineKeepaliveMs: 15_000,
  /** Of each output of a container, read ahead of its reader. */
  attachBufferBytes: 256 * KiB,
  /** After KILL the engine needs a moment; what is still there then cannot be killed. */
  killedWithinMs: 10_000,
  /** Layers of an image: Docker makes no more than 125, and a step that changed a file of the image adds one. */
  imageLayers: 125,
  /** What is left of a job on an engine is removed in so many goes, the n-th n times this after the one before. */
  removals: 5,
  removeAgainMs: 200,
  /** A helper that asks a person for a password would ask for ever. */
  credentialHelperMs: 30_000,
  /** Of a pull, one line in this time. */
  pullProgressMs: 1_000,
  /** A service is told to stop, and killed after this. */
  serviceStopMs: 10_000,
  /** A service's own check, as its image has it, is looked at this often. */
  serviceLookMs: 100,
  /** Processes that an exit names, of those that a cancellation ended, and of those that it could not. */
  endedProcesses: 32,
  /** What a job's services wrote, and what is told of a pull, in one journal: text; what comes after is not kept. */
  notesBytes: 4 * MiB,
  noteCharacters: 8 * KiB,
  /** Services of one job; mounts, file systems in memory, and capabilities of one container. */
  servicesPerJob: 20,
  listedPerContainer: 100,
  /**
   * Of each container under a policy, unless it grants more: a build with hundreds of threads fits (Podman's own default is
   * 2,048), and a fork bomb is a nuisance; memory for a compiler or a database; a part of a big machine, all of a small one.
   */
  confinedPids: 1024,
  confinedMemoryBytes: 4 * 1024 * MiB,
  confinedCpus: 4,
  /** An image's /etc/passwd, which is looked into for the user that the image names: a thousand accounts fit ten times. */
  passwdBytes: 1 * MiB,
  /** A service that is not healthy by then is not up; unless it says otherwise. */
  serviceHealthyMs: 60_000,
  /** From one check of a service to the next: what it costs is nothing beside a service's start. */
  serviceCheckEveryMs: 1_000,
  /** What a keeper before this one left on an engine or a host that does not answer is looked for again after this. */
  reapEveryMs: 30_000,
  /** A keeper that leaves waits so long for a try that is under way. */
  reapCloseMs: 2_000,
  /** `ssh -G` reads a file or a few; a `Match exec` of the user's may take a moment. Its answer is good for so long. */
  sshConfigMs: 10_000,
  sshConfigKeptMs: 30_000,
  /** Jump hosts in a row: more is a circle. */
  sshJumps: 8,
  /** From nothing to an authenticated connection, each hop; unless the user's ConnectTimeout says otherwise. */
  sshConnectMs: 15_000,
  sshAgentMs: 5_000,
  /** A peer that leaves so many in a row unanswered is gone; unless the user's ServerAlive settings say otherwise. */
  sshKeepaliveMs: 15_000,
  sshKeepaliveCount: 3,
  /** OpenSSH's MaxSessions, until the server refuses one; connections of one host, and as many again to end jobs by. */
  sshSessions: 10,
  sshConnections: 10,
  sshIdleMs: 60_000,
  /** A session that cannot be had though nothing else uses the connection is asked for so often, with pauses. */
  sshTries: 5,
  sshRetryMs: 1_000,
  /** A server tells by then whether it runs a command: sooner than it has done anything. */
  sshAnswerMs: 30_000,
  /** A login shell's profile has come to its end by then, and after it the script that starts a command. What it printed last is kept for a message. */
  sshStartMs: 60_000,
  sshNoiseBytes: 2 * KiB,
  /** A script of ours, beyond what it waits for by itself; one that removes a directory; the lines that they may print. */
  sshScriptMs: 60_000,
  sshRemoveMs: 10 * 60_000,
  sshScriptBytes: 1 * MiB,
  /** Of one output, read ahead of its reader. */
  sshOutputBytes: 256 * KiB,
  /** A host whose connection was lost is looked for again for so long, to end what runs there. */
  sshReconnectMs: 30_000,
  /** The longest argument or variable that Linux takes, its end included (MAX_ARG_STRLEN, execve(2)). */
  argumentBytes: 128 * KiB,
  /** What is shorter stands in any output by chance, and hiding it would tell what it is; a line of one, the same. */
  secretMinimumCharacters: 6,
  secretLineCharacters: 8,
  /**
   * One secret, and all of one job: a kubeconfig with its certificates is a quarter of the first. All forms of them together:
   * those of a key or a configuration have 60 bytes a byte at most, those made for it 300. Looking for a byte takes 25,
   * so a job's take some 80 MiB of the keeper.
   */
  secretBytes: 32 * KiB,
  secretsBytes: 64 * KiB,
  secretFormsBytes: 3 * MiB,
  /** A coordinator hides those of all jobs of its run from every view: some 200 MiB of it, made ready in a second or two. */
  runSecretFormsBytes: 8 * MiB,
  /** A keeper that gets ready to look for them does nothing else for so long at a time. */
  secretSliceMs: 2,
  secretsPerJob: 100,
  /** A command that gives a secret may ask a person to unlock something first. */
  secretCommandMs: 60_000,
  /** setTimeout cannot hold more than this (24.8 days). */
  timeoutMaximumMs: 2 ** 31 - 1,
  /** After the command itself exited: quiet time, and the most time, for outputs that a grandchild holds open. */
  drainQuietMs: 1_000,
  drainMaximumMs: 10_000,
  /** One time mark for at least this much time of output. */
  markEveryMs: 100,
  /** GitHub takes a summary of 1 MiB from a step, whole or not at all; four bytes a character always fit. */
  jobSummaryCharacters: 240 * KiB,
  jobSummaryTailLines: 50,
  /** What a compiler may say of one recipe: some ten thousand errors. */
  typeCheckBytes: 4 * MiB,
  /** Who is told of one job, or of the run; deliveries at once, of what may be thousands of jobs. */
  notifiesEach: 10,
  notifiesAtOnce: 4,
  /** A command that tells somebody, and of what it said last for a warning; an answer to a POST, and tries after the first. */
  notifyCommandMs: 60_000,
  notifySaidCharacters: 2_000,
  notifyMs: 10_000,
  notifyRetries: 2,
  notifyBackoffMs: 1_000,
  /** Jobs that did not pass, as a notice of a run names them: it stays a message. */
  notifiedJobs: 100,
  /** A job's stdin within its recipe: whatever is longer is a file. */
  stdinTextBytes: 1 * MiB,
  /** Names that one job's outputs have, and patterns of each: far above any recipe. */
  outputsPerJob: 100,
  /** Patterns of one job's inputs: more are a list of files, which is not what they are for. */
  inputsPerJob: 1_000,
  /** A change is followed by others (an editor, a checkout): quiet for the first, or the second at the latest. */
  watchQuietMs: 100,
  watchMostMs: 2_000,
  /** A new folder is looked at again after this, and once more: by then it is surely watched. */
  watchLookMs: 500,
  /** One changed file is compared with all inputs, of 20,000 jobs too, well within this. */
  globsMs: 3_000,
  /** Changed files that are named. */
  namedChanges: 3,
  /** A question of a job is one line that a person reads; so often may an answer not fit; and so many may wait. */
  questionCharacters: 1_000,
  answersRefused: 3,
  questionsWaiting: 10_000,
  /** What a terminal holds of what was typed before a question was asked is there within this. */
  typedBeforeMs: 50,
  /** Bars that --timings draws: a screen or two. */
  timedJobs: 60,
  /** One message from a sandboxed recipe: a job with a stdin of its own, whose JSON may be six times as long. */
  sandboxMessageBytes: 8 * MiB,
  /** Jobs of a sandboxed recipe, what they are told in, and the same of those that one function gives. */
  sandboxJobs: 20_000,
  sandboxPlanBytes: 64 * MiB,
  /** Messages that are looked at in a second; what comes beyond waits in the pipe. Commands that are open at once. */
  sandboxMessagesASecond: 20_000,
  sandboxCommands: 1_000,
  /** Files and folders that its jobs name: each is looked up, while nothing else is done. */
  sandboxPaths: 20_000,
  /** What it was told and has not read: outputs wait for it, so this is a function's needs, many times over. */
  sandboxUnreadBytes: 256 * MiB,
  /** Of a command's input, and of its output, in one message. */
  sandboxPieceBytes: 256 * KiB,
  /** A recipe is loaded, a condition and a schema are asked, within this: code that loops for ever is ended. */
  sandboxAnswersMs: 30_000,
  /** What a recipe needs at most in a process of its own: its heap, and all of its memory, looked at this often. */
  sandboxHeapBytes: 512 * MiB,
  sandboxMemoryBytes: 1_024 * MiB,
  sandboxLookMs: 500,
  /** What it may print, in all; and how long a line of that may be. */
  sandboxPrintedBytes: 1 * MiB,
  sandboxLineCharacters: 1_000,
  /** What it and all that it imports may be long. */
  sandboxSourceBytes: 64 * MiB,
  /** What a function failed with, in its own words. */
  sandboxWordsCharacters: 4 * KiB,
} as const;
