// The grant `cwd`: folders of this machine where a job may ask to run. A job that names none has a fresh one, always.
import { folderRules } from "./paths.ts";

export const cwdRules = folderRules("cwd");
