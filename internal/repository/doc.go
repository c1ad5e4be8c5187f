// Package repository reads what people write for the place of a git repository:
// "https://git.example.com/org/plugin.git", "git@github.com:org/plugin",
// "ssh://git@host:22/path", or an absolute path.
//
// It is the one reader of that notation, for the agent's configuration (plugins.sources)
// and for what an instruction asks to install, so that what the owner of a host allows
// is what is fetched. Everything that git would take for something else is refused:
// helpers ("ext::"), other protocols, options, passwords, escapes, queries, "..". A
// [Place] is comparable, and [Place.URL] is the one form that git is given.
//
// An allowed place allows itself and what is below it: "https://host/org" allows
// "https://host/org/plugin.git", and not "https://host/organisation". Scheme, user, host
// and port have to be the same.
//
// Everything here is a pure function and may be called concurrently.
package repository
