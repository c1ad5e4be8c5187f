// What `go vet` says of everything, for each system and processor that the project builds for.
//
//	go run ./test/platforms                  all but this machine's own, which every build checks
//	go run ./test/platforms windows/arm64    this one
//
// Every package of the module, its tests and all that they import are read, their types checked as
// the compiler does before it makes code, and ours vetted. To make code for another platform takes
// ten times as long and finds nothing more in what is written here but for what the linker says:
// `make build-all` and `make cross-build` link.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/analysis/suite/vet"
	"golang.org/x/tools/go/packages"
)

var platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

func main() {
	asked := slices.DeleteFunc(platforms, func(p string) bool { return p == runtime.GOOS+"/"+runtime.GOARCH })
	if len(os.Args) > 1 {
		asked = os.Args[1:]
	}
	failed := false
	for _, platform := range asked {
		began := time.Now()
		n, err := check(platform)
		if err != nil {
			failed = true
			fmt.Printf("%-14s %v\n", platform, err)
			continue
		}
		fmt.Printf("%-14s %d packages, %.0f s\n", platform, n, time.Since(began).Seconds())
	}
	if failed {
		os.Exit(1)
	}
}

// check returns how many packages there are for a platform, or all that is wrong with them.
func check(platform string) (n int, err error) {
	system, processor, _ := strings.Cut(platform, "/")
	ours, err := packages.Load(&packages.Config{
		Mode:  packages.LoadAllSyntax | packages.NeedModule,
		Env:   append(os.Environ(), "GOOS="+system, "GOARCH="+processor, "CGO_ENABLED=0"),
		Tests: true,
	}, "./...")
	if err != nil {
		return 0, err
	}
	var mistakes []error
	packages.Visit(ours, nil, func(p *packages.Package) {
		n++
		for _, e := range p.Errors {
			mistakes = append(mistakes, e)
		}
	})
	if len(mistakes) > 0 {
		return n, errors.Join(mistakes...)
	}
	found, err := checker.Analyze(vet.Suite, ours, nil)
	if err != nil {
		return n, err
	}
	var said strings.Builder
	if err := found.PrintText(&said, -1); err != nil {
		return n, err
	}
	if said.Len() > 0 {
		return n, errors.New(said.String())
	}
	return n, nil
}
