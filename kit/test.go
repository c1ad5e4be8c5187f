package kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// tester has the flags of a test.
type tester struct {
	setting
	runs      int
	time      time.Duration
	unitTests bool
	out       *printer // for whom each check is printed as it ends; nil is nobody
}

func testCommand() *cobra.Command {
	var o tester
	cmd := &cobra.Command{
		Use:   "test DIR",
		Short: "Try a plugin in the real sandbox, and print a score card",
		Long: `Runs the plugin in DIR as an agent of this host would, with this user's rights, against a scripted agent: handshake,
schema, each command of its contract, time limits, a thousand runs, TERM, and what it touches against what it declares. An
action or an output really does what it does, each time: give it parameters that can bear that, or lower --runs.
Its unit tests (test_*.py) run outside of the sandbox, as you run them.
Exit code 0 says that nothing failed.`,
		Example: "  stavily plugin test disk-space\n" +
			"  stavily plugin test cleanup --config 'roots=[\"/tmp/scratch\"]' --param path=/tmp/scratch --runs 10\n" +
			"  stavily plugin test webhook --config url=http://localhost:8080/ --allow-private localhost -o json",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p := printer{w: cmd.OutOrStdout()}
			if !asJSON(cmd) {
				o.out = &p
			}
			card, err := o.test(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				err = showJSON(cmd.OutOrStdout(), card)
			} else {
				card.printEnd(&p)
				err = p.err
			}
			if err == nil && !card.Passed {
				err = fmt.Errorf("%s does not pass: %s", card.Plugin, card.failed())
			}
			return err
		},
	}
	o.register(cmd)
	cmd.Flags().IntVar(&o.runs, "runs", 1000, "how often it is used, to see whether anything grows or is left behind")
	cmd.Flags().DurationVar(&o.time, "runs-time", 2*time.Minute, "`limit` of all these runs together")
	cmd.Flags().BoolVar(&o.unitTests, "unit-tests", true, "run its unit tests")
	return cmd
}

// trial is one test that goes on.
type trial struct {
	*tester
	card   *Card
	plugin *plugin.Plugin
	bench  *bench
}

// The checks that need a plugin that starts.
var afterHandshake = []string{"schema", "commands", "runs", "TERM", "permissions"}

// test makes every trial that can be made. The error says that there is no card.
func (o *tester) test(ctx context.Context, dir string) (*Card, error) {
	began := time.Now()
	p, warnings, err := plugin.Load(dir)
	if err != nil {
		return nil, notValid(dir, err)
	}
	t := &trial{tester: o, plugin: p, card: &Card{
		Plugin: p.ID, Version: p.Version, Digest: p.Digest, Type: string(p.Kind), Contract: string(p.Runtime.Contract),
	}}
	if t.bench, err = openBench(ctx, p, &o.setting, "", io.Discard); err != nil {
		return nil, err
	}
	t.card.Sandbox = t.bench.Posture().String()
	if o.out != nil {
		t.card.printHead(o.out)
		t.card.ended = func(c *Check) { c.print(o.out) }
	}
	err = t.all(ctx, warnings)
	if err = errors.Join(err, t.bench.close()); err != nil {
		return nil, err
	}
	t.card.Passed, t.card.Seconds = t.card.count(Failed) == 0, time.Since(began).Seconds()
	return t.card, ctx.Err()
}

// notValid leads to the command that lists every mistake; their lines are its business.
func notValid(dir string, err error) error {
	var mistakes strictyaml.Errors
	if errors.As(err, &mistakes) {
		return fmt.Errorf("%s is not a valid plugin (`stavily plugin validate %[1]s`):\n%[2]w", dir, err)
	}
	return err
}

func (t *trial) all(ctx context.Context, warnings strictyaml.Errors) error {
	t.manifest(ctx, warnings)
	if t.unitTests {
		t.ownTests(ctx)
	}
	t.sandbox()
	if c := t.card.Checks[len(t.card.Checks)-1]; c.Verdict == Failed {
		t.card.skip("the plugin does not run here", append([]string{"handshake"}, afterHandshake...)...)
		return nil
	}
	seen, err := t.observe(ctx)
	if err != nil {
		return err
	}
	switch {
	case t.plugin.Runtime.Contract == plugin.Script && t.plugin.Kind == plugin.Sensor:
		t.stream(ctx)
	case t.plugin.Kind == plugin.Sensor:
		t.sense(ctx)
	default:
		t.act(ctx)
	}
	t.permissions(seen)
	return nil
}

// sandbox says what holds the plugin, and what it was granted of what it asks for.
func (t *trial) sandbox() {
	c, end := t.card.begin("sandbox")
	posture := t.bench.Posture()
	defer func() { end("level %s", posture.String()) }()
	for _, layer := range slices.Sorted(maps.Keys(posture.Missing)) {
		c.note("this host lacks %s: %s", layer, posture.Missing[layer])
	}
	if !posture.Satisfies(api.SandboxConfined) {
		c.warn("nothing keeps the plugin from files that it does not declare: an agent runs it here only where its owner says so")
	}
	reach, err := t.bench.Reach(t.bench.task())
	if err == nil {
		err = t.bench.CanRun(t.bench.task())
	}
	if err != nil {
		c.fail("%s", err)
		return
	}
	for _, d := range reach.Decisions {
		switch {
		case strings.HasSuffix(d.Why, agent.NotThere): // on this host; elsewhere it may be
			c.note("%s", d.String())
		case d.Why != "":
			c.warn("%s", d.String())
		}
	}
}

// first is the first sentence of a text that may have many lines.
func first(text string) string {
	head, _, _ := strings.Cut(text, "\n")
	return head
}
