package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

// sandboxLevel is the level with what was achieved beyond it, empty where the agent
// has not told.
func sandboxLevel(a operatorapi.Agent) string {
	if a.Sandbox == nil {
		return ""
	}
	return a.Sandbox.String()
}

// lacks is what the sandbox of an agent misses, cut to what a table has room for.
func lacks(a operatorapi.Agent) []string {
	const most = 40 // characters of one reason; `agents show` has them whole
	all := a.Sandbox.Lacks()
	for n, line := range all {
		if runes := []rune(line); len(runes) > most {
			all[n] = string(runes[:most]) + "…"
		}
	}
	return all
}

// showSandbox prints all that an agent told of its sandbox.
func showSandbox(w io.Writer, o *options, p *api.Posture) error {
	if p == nil {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	pairs := [][2]string{{"Sandbox", p.String()}, {"Kernel", p.Kernel}, {"Memory limit held by", p.Memory}}
	if p.LandlockABI > 0 {
		pairs = append(pairs, [2]string{"Landlock ABI", strconv.Itoa(p.LandlockABI)})
	}
	if t := p.SelfTest; t != nil {
		pairs = append(pairs, [2]string{"Self-test", fmt.Sprintf("%d passed, %d failed %s", len(t.Passed), len(t.Failed), strings.Join(t.Failed, ", "))})
	}
	if err := facts(w, pairs...); err != nil {
		return err
	}
	layers := slices.Sorted(maps.Keys(p.Layers))
	for layer := range p.Missing {
		if _, told := p.Layers[layer]; !told {
			layers = append(layers, layer)
		}
	}
	if len(layers) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return show(w, o, layers, "", "LAYER|STATE|MORE", func(layer string) []string {
		state, more, _ := strings.Cut(p.Layers[layer], ": ")
		if why, missing := p.Missing[layer]; missing {
			more = why
		}
		return []string{layer, state, more}
	})
}
