// The size of the agents, held to a budget.
//
//	go run ./test/size            builds both agents, prints where their bytes are
//	go run ./test/size -update    writes test/size/sizes.txt, the sizes that are known
//
// An agent runs on every host, so its program may have 14 MB without its symbols. What
// that holds is known package by package: when an agent has grown by more than a little
// since sizes.txt was written, the run fails and names the packages that grew, the new
// ones first. Who wants the growth writes the file anew, in the same commit, and says why.
//
// # How it counts
//
// It builds as `make build` does, for linux/amd64, once without symbols, whose file is
// measured, and once with them, whose symbols are added up by package. What belongs to no
// package (the table of line numbers, a third of the file, and the descriptions of
// unnamed types) is in the rest and grows with the others.
//
// # What makes an agent large
//
// Anything that reaches reflect's MethodByName with a name that is not constant, as
// text/template does, makes the linker keep every exported method of every type: the run
// fails on that, too, since the growth is then everywhere and names nobody.
package main
