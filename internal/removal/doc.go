// Package removal removes directory trees that somebody else has written.
//
// A plugin, a build or a package may take the permission to remove something off one of
// its directories, which os.RemoveAll then leaves. Here the permission is given back and
// the tree removed. Everything goes through an os.Root: a link in the tree is removed,
// and what it leads to is not touched.
//
// It keeps no state and may be called concurrently, for different trees.
package removal
