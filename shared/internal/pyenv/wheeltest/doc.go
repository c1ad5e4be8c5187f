// Package wheeltest makes wheels for tests: real ones, which pip installs, also such as
// no honest tool builds.
//
// A wheel holds one module of its own name that knows its version, and whatever else a
// test wants in it: requirements, another Python, entry points, files at any path. Of
// paths, "DATA/" stands for the wheel's data directory, whose files go anywhere in an
// environment.
//
// Only tests import it. It keeps no state.
package wheeltest
