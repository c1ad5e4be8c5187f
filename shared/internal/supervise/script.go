package supervise

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"sync"

	"github.com/stavily/agents/shared/internal/sandbox"
)

// ScriptOptions say what program to run and where its output goes.
type ScriptOptions struct {
	Spec   sandbox.Spec // its standard files are set here; standard input is empty
	Log    LogSink      // standard error, and standard output that is no JSON
	Stream bool         // standard output is only log, line by line: a monitor that runs for ever
}

// ScriptResult is how a program of contract script ended.
type ScriptResult struct {
	Data      json.RawMessage // standard output: JSON as it is, anything else as text; nil when empty
	Truncated bool            // Data is only the first MiB of it
	Exit      sandbox.Exit
	Reason    string // the last line of standard error
}

// RunScript runs a program to its end. The error says that it could not be started
// or watched; how it ended is in the result.
func RunScript(ctx context.Context, o ScriptOptions) (ScriptResult, error) {
	p, err := withPipes(func(_, stdout, stderr *os.File) (*sandbox.Process, error) {
		o.Spec.Stdin, o.Spec.Stdout, o.Spec.Stderr = nil, stdout, stderr // without standard input the program reads the null device
		return sandbox.Start(ctx, o.Spec)
	})
	if err != nil {
		return ScriptResult{}, err
	}
	defer p.closeOurs()
	log, out := newThrottle(o.Log), newOutput()
	var others sync.WaitGroup
	others.Go(p.endWithIt)
	others.Go(func() { log.pump("stderr", p.errs) })
	if o.Stream {
		log.pump("stdout", p.out)
	} else {
		_, _ = io.Copy(out.kept, p.out) // ends with the process tree
	}
	others.Wait()
	exit, err := p.process.Wait()
	return scriptResult(out, log, exit), err
}

func scriptResult(out *output, log *throttle, exit sandbox.Exit) ScriptResult {
	r := ScriptResult{Exit: exit}
	var isJSON bool
	r.Data, isJSON, r.Truncated = out.result()
	if !isJSON {
		out.replay(log)
	}
	log.flush()
	r.Reason = log.reason()
	return r
}
