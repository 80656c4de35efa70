// The shell scripts that the host runs, and how they get there: the command of an exec request is one constant, and the
// script follows on stdin, as one line. So no value of a variable is in any argv, no script is too long, and it is the same
// whatever the login shell is. `read` takes byte by byte and leaves the rest of stdin to the job.
import type { Command } from "../../../../protocol/command.ts";
import { quoted } from "../../../../protocol/quote.ts";

/** Said once a login shell's profile is over and our shell reads. Whatever shows the command itself has no newline there. */
export const READY = "sortie-ready\n";

/** Valid in sh, bash, zsh, fish and csh. Of a line that was cut short nothing is run. */
export const BOOTSTRAP = `exec /bin/sh -c 'echo ${READY.trim()} && IFS= read -r _sortie && eval "$_sortie"'`;

/** The script in one line. Its newlines are a variable's: the third character of a fresh shell's IFS (POSIX, 2.5.3). */
export const asLine = (script: string): Buffer =>
  Buffer.from(
    `_sortie_n=\${IFS#??};_sortie_n=\${_sortie_n%"\${_sortie_n#?}"};eval ${quoted(script).replaceAll("\n", `'"$_sortie_n"'`)}\n`,
  );

/** The line's rest of /proc/PID/stat behind the program's name has its fields from the third on: 20 is when it began. */
const BEGAN = `
_sortie_began() {
  { read -r _sortie_l <"/proc/$1/stat"; } 2>/dev/null || return 1
  set -f
  set -- \${_sortie_l##*) }
  _sortie_b=\${20} _sortie_g=$3
  set +f
}`;

export interface Secrets {
  /** What cannot be guessed. */
  readonly directory: string;
  /** Each with the variable that has its path. */
  readonly files: readonly { readonly name: string; readonly variable: string; readonly value: string }[];
}

export interface Launch {
  /** What the lines that are ours begin with, on both outputs; what comes before is the noise of a profile. */
  readonly nonce: string;
  readonly command: Command;
  readonly variables: Readonly<Record<string, string>>;
  /** An absolute path; or a directory to be made where the host keeps temporary files. */
  readonly directory: { readonly path: string } | { readonly name: string };
  /** Files of secrets: in a directory of this name, in memory where the host has it. They are there for later commands. */
  readonly secrets?: Secrets | undefined;
  readonly umask: number | undefined;
  readonly nice: number | undefined;
  readonly stdin: boolean;
}

/** The shell keeps these for itself (bash the most): they cannot be exported, or not with any value. */
export const RESERVED =
  /^(BASH.*|COMP_.*|DIRSTACK|EPOCHREALTIME|EPOCHSECONDS|EUID|FUNCNAME|GROUPS|HISTCMD|LINENO|OPTIND|PIPESTATUS|PPID|RANDOM|SECONDS|SHELLOPTS|SHLVL|SRANDOM|UID|_)$/;
/** With more than this the kernel is asked whether it takes them: on Linux 128 KiB of one, a quarter of the stack of all. */
const LARGE = 96 * 1024;

/**
 * Tells its process on stdout, `NONCE PID BEGAN`; then on stderr `NONCE started DIRECTORY`, and becomes the command, or
 * `NONCE refused WHY`.
 */
export function launchScript(launch: Launch): string {
  const { nonce, command, variables, directory, secrets, umask, nice, stdin } = launch;
  const argv = "argv" in command ? command.argv : ["/bin/sh", "-c", command.shell];
  const [program = ""] = argv;
  const own = Object.entries(variables).filter(([name]) => RESERVED.test(name));
  const size = [...argv, ...Object.values(variables)].reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
  return `${BEGAN}
_sortie_b=0
_sortie_began $$
echo "${nonce} $$ $_sortie_b" || exit
_sortie_no() { echo "${nonce} refused $*" >&2; exit 0; }
${"path" in directory ? enter(directory.path) : make(directory.name)}
${secrets ? keep(secrets) : ""}
${nice === undefined && own.length === 0 ? "" : "_sortie_env=$(command -v env)"}
${nice === undefined ? "" : `_sortie_nice=$(command -v nice) || _sortie_no nice`}
${nice === undefined || nice >= 0 ? "" : `[ -z "$("$_sortie_nice" -n ${nice} "$_sortie_env" true 2>&1)" ] || _sortie_no nice`}
set -- ${argv.map(quoted).join(" ")}
${umask === undefined ? "" : `umask 0${umask.toString(8)}`}
${Object.entries(variables)
  .filter(([name]) => !RESERVED.test(name))
  .map(([name, value]) => `${name}=${quoted(value)}\nexport ${name}`)
  // PATH is looked up from here on, and IFS would split what is looked up.
  .sort()
  .filter((line) => !line.startsWith("IFS="))
  .join("\n")}
${LOOK_UP}
${program.startsWith("-") ? `shift; set -- "$_sortie_f" "$@"` : ""}
${variables["IFS"] === undefined ? "" : `IFS=${quoted(variables["IFS"])}; export IFS`}
${size < LARGE ? "" : `/bin/sh -c : "$@" 2>/dev/null || _sortie_no large`}
echo "${nonce} started $_sortie_d" >&2 || exit
exec ${nice === undefined ? "" : `"$_sortie_nice" -n ${nice} `}${
    own.length === 0 ? "" : `"$_sortie_env" ${own.map(([name, value]) => quoted(`${name}=${value}`)).join(" ")} `
  }"$@"${stdin ? "" : " </dev/null"}
`;
}

const enter = (path: string): string => `_sortie_d=${quoted(path)}
cd "$_sortie_d" 2>/dev/null || {
  [ -d "$_sortie_d" ] && _sortie_no workdir denied
  [ -e "$_sortie_d" ] && _sortie_no workdir file
  _sortie_no workdir missing
}`;

/** What cannot be guessed cannot be there before; mkdir follows no link. */
const make = (name: string): string => `_sortie_d=\${TMPDIR:-/tmp}/${name}
mkdir -m 700 "$_sortie_d" 2>/dev/null && cd "$_sortie_d" && _sortie_d=$PWD || _sortie_no workdir make`;

/**
 * The directory is made, and each file written, by the first command; a file is there only once it is whole, since others
 * may begin meanwhile. A printf that is a program of its own would show
 * the value to every user of the host.
 */
const keep = ({ directory, files }: Secrets): string => `
case $(command -v printf) in /*) _sortie_no secrets ;; esac
_sortie_s=
for _sortie_l in /dev/shm "\${TMPDIR:-/tmp}"; do
  [ -d "$_sortie_l" ] && [ -w "$_sortie_l" ] || continue
  { [ -d "$_sortie_l/${directory}" ] || mkdir -m 700 "$_sortie_l/${directory}" 2>/dev/null; } || continue
  _sortie_s=$_sortie_l/${directory}
  break
done
[ -n "$_sortie_s" ] || _sortie_no secrets
${files
  .map(
    ({
      name,
      variable,
      value,
    }) => `[ -f "$_sortie_s/${name}" ] || (umask 077; printf %s ${quoted(value)} >"$_sortie_s/${name}.$$" && mv -f "$_sortie_s/${name}.$$" "$_sortie_s/${name}") 2>/dev/null || _sortie_no secrets
${variable}=$_sortie_s/${name}
export ${variable}`,
  )
  .join("\n")}`;

/** As execvp(3) looks a program up, and what is wrong with it told as the local backend does. */
const LOOK_UP = `
_sortie_file() { [ -f "$_sortie_f" ] && [ -x "$_sortie_f" ]; }
case $1 in
*/*)
  _sortie_f=$1
  _sortie_file || {
    [ -e "$_sortie_f" ] && _sortie_no command 126
    case $(LC_ALL=C ls -dL "$_sortie_f" 2>&1) in
    *"No such file or directory" | *"Not a directory" | *"not found") _sortie_no command 127 ;;
    esac
    _sortie_no command access
  } ;;
*)
  _sortie_p=$PATH: _sortie_i=$IFS _sortie_c=127 _sortie_f=
  IFS=: ; set -f
  for _sortie_l in $_sortie_p; do
    _sortie_f=\${_sortie_l:-.}/$1
    _sortie_file && _sortie_c=0 && break
    [ -e "$_sortie_f" ] && _sortie_c=126
  done
  IFS=$_sortie_i; set +f
  [ "$_sortie_c" = 0 ] || _sortie_no command "$_sortie_c" ;;
esac
_sortie_l=
{ IFS= read -r _sortie_l <"$_sortie_f"; } 2>/dev/null
case $_sortie_l in
'#!'*)
  _sortie_interpreter() { [ -x "$1" ] || _sortie_no command interpreter; }
  set -f; _sortie_interpreter \${_sortie_l#'#!'}; set +f ;;
esac`;

/** A process that leads its group, and when it began: its number may be another's later. */
export interface Leader {
  readonly pid: number;
  readonly began: string;
}

export interface Tree {
  /** What the environment of its processes holds: `NAME=VALUE`. */
  readonly mark: string;
  readonly leader: Leader | undefined;
}

/** Of /proc/PID/stat: it has memory, and no code in it yet. */
const EXECUTED = "\\) [A-Z]( -?[0-9]+){19} [1-9][0-9]* [0-9]+ [0-9]+ 0 ";

/**
 * Sets L to the processes that are left, and sends signals to them. Without /proc only the group is known. While a process is
 * being made another program its environment reads as empty: so nothing is left only where two looks found nothing, and
 * nobody was in the middle of that between them.
 */
const look = ({ mark, leader }: Tree): string => `${BEGAN}
P=${leader?.pid ?? ""} L=
if [ -n "$P" ] && _sortie_began "$P" && [ "$_sortie_b" != ${leader?.began ?? 0} ]; then P=; fi
# Busybox looks at the first of several strings only, unless it is told what ends each.
Z=-z
grep -z . /dev/null 2>/dev/null
[ $? -lt 2 ] || Z=
once() {
  L=
  if [ -r /proc/self/environ ]; then
    for e in $(cd /proc && { grep -ls $Z -F ${quoted(mark)} [0-9]*/environ
      [ -z "$P" ] || grep -ls ") [^ZX] [0-9]* $P " [0-9]*/stat; }); do
      e=\${e%/*}
      case "$L " in *" $e "*) ;; *) L="$L $e" ;; esac
    done
  elif [ -n "$P" ] && kill -0 "-$P" 2>/dev/null; then L=" $P"; fi
}
look() {
  U=-
  for i in 1 2 3 4 5; do
    once
    [ -z "$L" ] && [ -n "$U" ] || break
    U=$(cd /proc && grep -lsE '${EXECUTED}' [0-9]*/stat)
  done
}
outside() { [ -z "$P" ] || { _sortie_began "$1" && [ "$_sortie_g" != "$P" ]; }; }
send() {
  [ -z "$P" ] || kill "-$1" "-$P" 2>/dev/null
  for p in $L; do outside "$p" && kill "-$1" "$p" 2>/dev/null; done
}`;

export const signalScript = (tree: Tree, names: readonly string[]): string =>
  `${look(tree)}\nlook\n${names.map((name) => `send ${name}`).join("\n")}`;

/**
 * TERM to the tree, KILL to what is left after the grace, each process told when it is gone: `term PID NAME`,
 * `kill PID NAME`; what stays as `left PID NAME`. A grace of 0 means KILL at once. TERM is sent once, to what either of two
 * looks found: what a clean-up starts in the grace is left alone.
 */
export const endScript = (tree: Tree, graceMs: number): string => `${look(tree)}
S= w=0.02 n=0
pause() { n=$((n + 1)); [ $n -lt 10 ] || w=0.1; sleep $w 2>/dev/null || sleep 1; }
see() {
  look
  for p in $L; do
    case "$S " in *" $p "*) continue ;; esac
    c=
    { read -r c <"/proc/$p/comm"; } 2>/dev/null
    S="$S $p"; eval "N$p=\\$c"
  done
}
tell() {
  R=
  for p in $S; do
    case "$L " in *" $p "*) R="$R $p" ;; *) eval "c=\\$N$p"; printf '%s\\n' "$1 $p $c" ;; esac
  done
  S=$R
}
# Hundredths of a second: of the machine's own clock, or counted.
now() {
  if { read -r t _ </proc/uptime; } 2>/dev/null; then t=\${t%.*}\${t#*.}; else t=$((n * 20)); fi
}
see
if [ ${Math.ceil(graceMs / 10)} -gt 0 ]; then
  see; L=$S
  send TERM
  now; u=$((t + ${Math.ceil(graceMs / 10)}))
  while [ -n "$L" ] && now && [ $t -lt $u ]; do pause; see; done
  tell term
  n=0 w=0.02
fi
while [ -n "$L" ] && [ $n -lt 60 ]; do send KILL; pause; see; done
tell kill
for p in $S; do eval "c=\\$N$p"; printf '%s\\n' "left $p $c"; done`;

/** Also where a job took its own permissions away. `name` is one below the directory for temporary files. */
export const removeScript = (directory: { readonly path: string } | { readonly name: string }): string => `
cd /
D=${"path" in directory ? quoted(directory.path) : `\${TMPDIR:-/tmp}/${directory.name}`}
rm -rf "$D" 2>/dev/null || { chmod -R u+rwx "$D" 2>/dev/null; rm -rf "$D" 2>&1; }
[ ! -e "$D" ] || echo "kept $D"`;

export const removeSecretsScript = (directory: string): string => `
for D in "/dev/shm/${directory}" "\${TMPDIR:-/tmp}/${directory}"; do
  rm -rf "$D" 2>&1
  [ ! -e "$D" ] || echo "kept $D"
done`;
