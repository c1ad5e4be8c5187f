//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// result is what one configuration came to.
type result struct {
	configuration
	report     worldReport
	notRun     string
	err        error
	took       time.Duration
	unexpected []string
}

// refusedByKernel are the errors of a kernel that lacks what a probe attacks.
var refusedByKernel = []string{"ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT"}

// judge compares every outcome with what is expected.
func (r *result) judge() {
	for i := range r.report.Outcomes {
		o := &r.report.Outcomes[i]
		if r.Level == "none" {
			r.judgeControl(o)
			continue
		}
		_, expected := r.Open[o.Name]
		switch {
		case o.Verdict == broken:
			r.complain(o, "died")
		case o.Verdict == open && !expected:
			r.complain(o, "works")
		}
	}
	if len(r.report.Zombies) > 0 {
		r.unexpected = append(r.unexpected, fmt.Sprintf("the agent has not buried %s", strings.Join(r.report.Zombies, ", ")))
	}
	p := r.report.Posture
	if p == nil || string(p.Level) != r.Level {
		r.unexpected = append(r.unexpected, fmt.Sprintf("plugins ran at level %s: must be %s", p, r.Level))
	}
	if p != nil && r.LandlockABI != 0 && p.LandlockABI != r.LandlockABI {
		r.unexpected = append(r.unexpected, fmt.Sprintf("plugins ran with Landlock ABI %d: must be %d", p.LandlockABI, r.LandlockABI))
	}
}

// lackedByKernel reports whether every way of a probe ended in one of these errors.
func lackedByKernel(evidence string) bool {
	for way := range strings.SplitSeq(evidence, "; ") {
		if !slices.ContainsFunc(refusedByKernel, func(reason string) bool { return strings.HasSuffix(way, reason) }) {
			return false
		}
	}
	return true
}

// judgeControl wants every attack to work that can.
func (r *result) judgeControl(o *outcome) {
	if o.Verdict == blocked && lackedByKernel(o.Evidence) {
		o.Verdict, o.Evidence = absent, "this kernel has none: "+o.Evidence
	}
	switch {
	case o.Verdict == broken:
		r.complain(o, "died")
	case o.Control == works && o.Verdict == blocked:
		r.complain(o, "must work without a sandbox, and does not")
	case o.Control != works && o.Verdict == open && r.Open[o.Name] == "":
		r.complain(o, "works, although refused by "+o.Control)
	}
}

func (r *result) complain(o *outcome, what string) {
	r.unexpected = append(r.unexpected, fmt.Sprintf("%s/%s %s: %s", o.Theme, o.Name, what, strings.TrimSpace(o.Evidence)))
}

// unsure names the probes that gave no answer, and those that the agent's watch over what is stored
// and taken came too late for. What a kernel is to refuse is never late.
func (r *result) unsure() []string {
	var out []string
	for _, o := range r.report.Outcomes {
		_, expected := r.Open[o.Name]
		if o.Verdict == broken || o.Control == supervised && o.Verdict == open && !expected {
			out = append(out, o.Name)
		}
	}
	return out
}

// counts by verdict.
func (r *result) counts() map[string]int {
	out := map[string]int{}
	for _, o := range r.report.Outcomes {
		out[o.Verdict]++
	}
	return out
}

func (r *result) summary() string {
	switch {
	case r.notRun != "":
		return "not run: " + r.notRun
	case r.err != nil:
		return "failed"
	}
	c := r.counts()
	return fmt.Sprintf("%d of %d attacks work, %d are refused, %d cannot be tried, %d died; %d unexpected",
		c[open], len(r.report.Outcomes), c[blocked], c[absent], c[broken], len(r.unexpected))
}

// settle makes refusals of what cannot be tried in a configuration although it can be
// without a sandbox: that it is not to be seen is the sandbox's work.
func settle(results []result) {
	control := map[string]string{}
	for _, r := range results {
		for _, o := range r.report.Outcomes {
			if r.Level == "none" {
				control[o.Name] = o.Verdict
			}
		}
	}
	for _, r := range results {
		for i := range r.report.Outcomes {
			o := &r.report.Outcomes[i]
			if before := control[o.Name]; o.Verdict == absent && r.Level != "none" && (before == open || before == blocked) {
				o.Verdict = blocked
			}
		}
	}
}

// report prints what is unexpected and fails when anything is.
func report(o options, results []result) error {
	var errs []error
	for _, r := range results {
		if o.verbose {
			for _, x := range r.report.Outcomes {
				fmt.Printf("  %-12s %-28s %-8s %.160q\n", r.Name, x.Name, x.Verdict, x.Evidence)
			}
		}
		sort.Strings(r.unexpected)
		for _, line := range r.unexpected {
			fmt.Printf("%s: %s\n", r.Name, line)
		}
		switch {
		case r.err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", r.Name, r.err))
		case r.notRun != "" && o.strict:
			errs = append(errs, fmt.Errorf("%s: not run: %s", r.Name, r.notRun))
		case len(r.unexpected) > 0:
			errs = append(errs, fmt.Errorf("%s: %d outcomes are not as expected", r.Name, len(r.unexpected)))
		}
	}
	return errors.Join(errs...)
}
