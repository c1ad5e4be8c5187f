// Package bundle is the package: one file that holds one version of a plugin.
//
// A package is a .tar.gz whose bytes depend on nothing but what it holds, so that the
// same plugin packed twice is the same file:
//
//	stavily-index.json       who it is, and path, mode, size and SHA-256 of every file
//	stavily-index.json.sig   where it is signed: an SSH signature over the index
//	plugin.yaml, main.py …   the files, in the order of the index
//
// The signature is the one of `ssh-keygen -Y sign -n stavily-plugin`, made with an
// ordinary Ed25519 key; ssh-keygen checks ours and we check its own.
//
// # What a reader does
//
//	Open     reads the two first members, under limits, and checks the index
//	Verify   the signature against the keys that this host trusts
//	Check    the index against what was to come: id, version, digest, no downgrade
//	Extract  writes into an empty directory: each member has to be the file that the
//	         index names next, with its mode, size and hash, and nothing may follow
//
// Names are checked in the index, before anything is written: a member whose header
// says anything else is refused, so that no header leads anywhere. Links, devices,
// set-id bits, owners and times do not exist in a package, and neither do names that
// some file system takes for another one: names are printable ASCII, and no two of
// them differ in case alone. Extract goes through os.Root, computes the tree's digest
// as it writes, and empties the directory again when anything is wrong.
//
// # Limits
//
// 64 MiB of archive, 256 MiB of files, 4,096 files, 100 times its own size, 2 MiB of
// index. Memory does not grow with what an archive claims: content is streamed.
//
// A [Package] reads from an io.ReaderAt and may be used concurrently; that the file
// changes between Open and Extract is noticed, since the index is compared again.
//
// See docs/adr/0006-plugin-versions.md.
package bundle
