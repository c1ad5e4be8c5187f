// Package python carries the Python package stavily, so that an agent needs no
// download to run plugins: it unpacks Source once and puts src on the PYTHONPATH
// of every plugin process.
//
// The files are exactly those that the wheel installs. Source only reads; it may
// be used by several goroutines.
package python

import "embed"

// Source is the package's tree, below src/stavily.
//
//go:embed src/stavily/*.py src/stavily/tools/*.py src/stavily/py.typed
var Source embed.FS
