// The grant `files`: files of this machine that a coordinator may read or write by Sortie itself. Nothing of a request asks
// for that yet: what a job's own commands read and write is not Sortie's to tell.
import { folderRules } from "./paths.ts";

export const filesRules = folderRules("files");
