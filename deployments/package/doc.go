// Command package makes archives, bills of materials and checksums of built programs. It
// is what scripts/package.sh runs; packages of distributions are made there too, by nfpm.
//
//	package -bin bin -dist dist -epoch 1700000000
//
// For each program in -bin whose name ends in -<system>-<processor>, with .exe or without:
//
//	dist/<name>               the program itself, to be fetched alone
//	dist/<name>.tar.gz, .zip  the program under its own name, licence, how to install
//	dist/<name>.cdx.json      CycloneDX 1.5: the modules that are linked in, as the program
//	                          itself says (debug/buildinfo), and its hash
//
// The same programs give the same bytes: entries are sorted, have the time -epoch, no
// owner, and modes that do not depend on the umask. What is not a Go program, or has no
// module information, is an error. `package -sums dist` writes dist/SHA256SUMS last.
package main
