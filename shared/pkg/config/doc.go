// Package config is the configuration of an agent: what can be set, what holds
// when nothing is set, and where each value in force came from.
//
// It reads and decides; it makes no directory, opens no socket, and knows nothing
// of the machine but what [LoadOptions] hands it and what the files say.
//
// # From five places to one value
//
//	flag ─▶ STAVILY_* variable ─▶ file ─▶ derived from other keys ─▶ default
//	(the first that has the key wins, key by key)
//
//	Load ─ settings (flags, environment) ─ find the file ─ decode it over Default
//	     ─ apply settings ─ expand {AGENT_ID} … ${ENV} ─ complete ─ check ─▶ Loaded
//
// The structs are the only list of keys: file keys, variable names (STAVILY_ and
// the key in capitals, '.' as '_'), the output of [Loaded.Show] and the test of
// configs/reference.yaml all come from the yaml tags. A key that nothing reads
// does not exist.
//
// # Rules
//
//   - Unknown and duplicate keys in a file are errors; an unknown STAVILY_*
//     variable is a warning, because an environment is shared with others.
//   - An empty variable counts as unset. Lists in variables are split at commas.
//   - {AGENT_ID}, {HOSTNAME} (lower case), {ORG_ID} and ${NAME} are replaced once,
//     in every text value of whatever origin; what they bring in is not looked at again.
//   - base_dir is relative to the working directory, every other path to base_dir.
//     In a [Loaded] all of them are absolute.
//   - Every mistake is reported at once, each with the key, the value, and the
//     file:line:column, variable or flag that set it.
//
// [Config.Validate] checks values only. What stands against them on this host is for
// those who use them to say, through [LoadOptions].Host, in the same list; that a
// certificate exists or a port is free shows when the agent runs.
//
// The files in config/plugins are read by [LoadPluginFiles], each on its own: one
// that is wrong is reported and the others hold.
//
// Everything here is a pure function of its arguments and of the files it reads,
// and may be called concurrently. To see what is in force and why:
// `sensor-agent config show`.
package config
