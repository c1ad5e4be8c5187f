// Package source brings a plugin from where it is to a directory aside, whole and
// checked, or says why not.
//
//	a package file   Package: limits, signature, index; see shared/pkg/bundle
//	a git repository Git.Fetch: only where the host's owner allows its URL
//
// Directories are catalog.Copy. What comes out is a tree; whether it is a plugin that
// can be used here is for the install pipeline of shared/pkg/agent.
//
// # Git
//
// A repository is data, and git is kept from taking it for more. It is fetched into a
// bare directory aside, one commit deep where the server allows, by the git program with
// a configuration of its own and none of the host's: one transport only, no hooks, no
// templates, no submodules, no credential helpers, no prompts, no redirects to another
// place, an empty home. Nothing is ever checked out: the tree is listed first (number
// and size of files are bounded before anything is written), then each blob is written
// as it is, without filters, line ending conversion or attributes. Links that lead out,
// submodules and names that lead elsewhere are refused.
//
// Which URLs may be fetched is a list of the agent's configuration, plugins.sources,
// where each entry allows itself and what is below it (internal/repository). URLs, branches, tags
// and commits that look like options never reach a command line.
//
// # Bounds
//
// 10,000 files and 512 MiB of a tree, as for every plugin, 1 GiB of a repository while it
// is fetched (watched, so that a little more may arrive), and the time of the caller's
// context. What was fetched is removed in any case.
//
// What comes back is the commit, which pins the origin. Nothing here keeps state, and
// everything may be used concurrently.
package source
