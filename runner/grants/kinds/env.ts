// The grant `env`: variables that a job sets, by name or `PREFIX_*`. Those that make another program of a permitted one
// (measured: each of the first row ran code) are granted by their exact names only.

import { fitsInAnyCase, fitsName, type NamePattern, namePattern } from "../../../protocol/name-pattern.ts";
import { badItem, type KindRules } from "./kind.ts";

/** Not a whole list, since every program has variables of its own: what is well known to start code, or to move its files. */
const DANGEROUS: readonly NamePattern[] = [
  ...["LD_*", "DYLD_*", "NODE_OPTIONS", "BASH_ENV", "ENV", "BASH_FUNC_*", "PYTHON*", "PERL5*", "npm_config_*"],
  ...["PATH", "IFS", "GIT_*", "RUBYOPT", "JAVA_TOOL_OPTIONS", "SSH_*", "DOCKER_*"],
  // The same in other clothes.
  ...["NODE_PATH", "RUBYLIB", "PERLLIB", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "MAVEN_OPTS", "GRADLE_OPTS"],
  ...["PHPRC", "PHP_INI_SCAN_DIR", "LUA_*", "GCONV_PATH", "GLIBC_TUNABLES", "SHELLOPTS", "BASHOPTS", "PS4", "CDPATH"],
  ...["PROMPT_COMMAND", "MAKEFLAGS", "MAKEFILES", "RUSTC_WRAPPER", "RUSTC", "CARGO_*", "GOFLAGS", "TAR_OPTIONS"],
  ...["OPENSSL_*", "DOTNET_*", "CORECLR_*", "GEM_*", "BUNDLE_*", "YARN_*", "PIP_*", "COMPOSER_*", "ERL_*", "JULIA_*"],
  // Programs that others start, and where configuration is read from that may name some.
  ...["EDITOR", "VISUAL", "PAGER", "BROWSER", "SHELL", "LESSOPEN", "LESSCLOSE", "SUDO_*", "HOME", "XDG_*", "ZDOTDIR"],
  ...["RSYNC_RSH", "HGRCPATH", "VIMINIT", "EXINIT", "WGETRC", "CURL_HOME", "KUBECONFIG", "AWS_CONFIG_FILE", "MANPAGER"],
  // What builds start: make takes each of the first for a program or for its own flags (measured), as configure and gcc do.
  ...["GNUMAKEFLAGS", "CC", "CXX", "CPP", "LD", "AR", "AS", "FC", "MAKE", "CONFIG_SHELL", "CONFIG_SITE"],
  ...["COMPILER_PATH", "GCC_EXEC_PREFIX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CMAKE_*", "RUSTFLAGS"],
  ...["RUSTDOC", "RUSTUP_*", "RUSTC_WORKSPACE_WRAPPER", "GOROOT", "GOENV", "GOPATH", "GOTOOLCHAIN"],
  ...["GRADLE_USER_HOME", "JAVA_HOME", "JAVA_OPTS", "MAVEN_ARGS", "ANT_*", "SBT_OPTS", "M2_HOME"],
  ...["NODE_REPL_EXTERNAL_MODULE", "NODE_COMPILE_CACHE", "BUN_*", "DENO_DIR", "npm_*", "PNPM_*", "COREPACK_*"],
  ...["UV_*", "POETRY_*", "VIRTUAL_ENV", "BASH_*", "FPATH", "INPUTRC", "LESS*", "ZIPOPT", "RSYNC_*", "SVN_SSH"],
  ...["SVN_EDITOR", "CVS_RSH", "HGEDITOR", "MANOPT", "MANPATH", "SYSTEMD_PAGER", "SYSTEMD_EDITOR", "PSQL_PAGER"],
  ...["PSQL_EDITOR", "PSQLRC", "RIPGREP_CONFIG_PATH", "BAT_PAGER", "SCREENRC", "ANSIBLE_*", "HELM_*"],
  ...["AWS_SHARED_CREDENTIALS_FILE", "TF_CLI_*", "CLOUDSDK_*", "CONTAINER_HOST", "CONTAINERS_*", "R_PROFILE*"],
  ...["R_ENVIRON*"],
].map((text) => namePattern(text) as NamePattern);

export const isDangerous = (name: string): boolean => DANGEROUS.some((pattern) => fitsInAnyCase(pattern, name));

const means = (name: string): string | undefined =>
  isDangerous(name) ? `the variable ${name} can make a permitted program run anything` : undefined;

export const envRules: KindRules<NamePattern> = {
  parse(text) {
    const pattern = namePattern(text);
    if (!pattern) throw badItem("env", text, "it takes a variable's name, or PREFIX_* for those that begin so");
    return pattern;
  },
  matches: (item, value) => fitsName(item, value) && (!item.prefix || !isDangerous(value)),
  denies: fitsInAnyCase,
  inAll: (value) => !isDangerous(value),
  means,
  warning: (allowed) => (allowed === true || allowed.prefix ? undefined : means(allowed.name)),
};
