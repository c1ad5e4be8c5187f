package workflow

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/internal/strictyaml"
)

// MaxBytes is the largest document. The longest that people write have a few
// hundred lines; together with maxExpressions it bounds what applying one costs.
const MaxBytes = 128 << 10

// document is the text as it is decoded, before it is checked. What a value of
// `variables` and `with` holds is read from the nodes, which know where it stands.
type document struct {
	Name        string               `yaml:"name"`
	Description string               `yaml:"description"`
	Version     string               `yaml:"version"`
	Mode        string               `yaml:"mode"`
	Priority    string               `yaml:"priority"`
	Owner       string               `yaml:"owner"`
	Runbook     string               `yaml:"runbook"`
	Variables   map[string]yaml.Node `yaml:"variables"`
	Triggers    []trigger            `yaml:"triggers"`
	When        string               `yaml:"when"`
	Cooldown    string               `yaml:"cooldown"`
	Correlate   correlate            `yaml:"correlate"`
	Dedupe      dedupe               `yaml:"dedupe"`
	Throttle    throttle             `yaml:"throttle"`
	Limits      limitations          `yaml:"limits"`
	Actions     []action             `yaml:"actions"`
	OnFailure   string               `yaml:"on_failure"`
	Outputs     []output             `yaml:"outputs"`
	Tests       []test               `yaml:"tests"`
}

type dedupe struct {
	Key    []string `yaml:"key"`
	Window string   `yaml:"window"`
}

type correlate struct {
	Mode   string   `yaml:"mode"`
	Within string   `yaml:"within"`
	Key    []string `yaml:"key"`
	Count  int      `yaml:"count"`
}

type throttle struct {
	FirstIn string `yaml:"first_in"`
	LastIn  string `yaml:"last_in"`
	Collect struct {
		Count  int    `yaml:"count"`
		Within string `yaml:"within"`
	} `yaml:"collect"`
	Key []string `yaml:"key"`
}

type limitations struct {
	Runs struct {
		Count int    `yaml:"count"`
		Per   string `yaml:"per"`
	} `yaml:"runs"`
	Attempts struct {
		Count int    `yaml:"count"`
		Per   string `yaml:"per"`
		Then  string `yaml:"then"`
	} `yaml:"attempts"`
	Concurrency struct {
		Max    int    `yaml:"max"`
		Key    string `yaml:"key"`
		Excess string `yaml:"excess"`
	} `yaml:"concurrency"`
	Targets struct {
		Max string `yaml:"max"`
		Of  struct {
			Tags []string `yaml:"tags"`
		} `yaml:"of"`
	} `yaml:"targets"`
	ExpiresAfter string   `yaml:"expires_after"`
	Freeze       []string `yaml:"freeze"`
}

type trigger struct {
	ID       string    `yaml:"id"`
	Event    string    `yaml:"event"`
	Agents   selection `yaml:"agents"`
	Schedule string    `yaml:"schedule"`
	Timezone string    `yaml:"timezone"`
	Missed   string    `yaml:"missed"`
	Agent    string    `yaml:"agent"`
	Workflow string    `yaml:"workflow"`
	On       []string  `yaml:"on"`
	Manual   struct {
		Inputs map[string]struct {
			Type     string    `yaml:"type"`
			Required bool      `yaml:"required"`
			Default  yaml.Node `yaml:"default"`
		} `yaml:"inputs"`
	} `yaml:"manual"`
	Webhook struct {
		Path      string `yaml:"path"`
		Secret    string `yaml:"secret"`
		Signature string `yaml:"signature"`
	} `yaml:"webhook"`
	Monitor struct {
		Plugin   string               `yaml:"plugin"`
		Interval string               `yaml:"interval"`
		Config   map[string]yaml.Node `yaml:"config"`
	} `yaml:"monitor"`
}

// plugged is what actions and outputs have in common.
type plugged struct {
	ID      string               `yaml:"id"`
	Plugin  string               `yaml:"plugin"`
	Agents  agents               `yaml:"agents"`
	With    map[string]yaml.Node `yaml:"with"`
	Timeout string               `yaml:"timeout"`
	Sandbox string               `yaml:"sandbox"`
	Retry   retrying             `yaml:"retry"`
}

type retrying struct {
	Attempts int      `yaml:"attempts"`
	Backoff  string   `yaml:"backoff"`
	First    string   `yaml:"first"`
	Max      string   `yaml:"max"`
	On       []string `yaml:"on"`
}

type action struct {
	plugged    `yaml:",inline"`
	Needs      []string `yaml:"needs"`
	When       string   `yaml:"when"`
	Idempotent bool     `yaml:"idempotent"`
	Install    bool     `yaml:"auto_install"`
	Type       string   `yaml:"type"`
	Setup      setup    `yaml:"plugin_configuration"`
	WaitFor    waitFor  `yaml:"wait_for"`
	Approval   struct {
		Group     string `yaml:"group"`
		Count     int    `yaml:"count"`
		Self      bool   `yaml:"self"`
		Within    string `yaml:"within"`
		Otherwise string `yaml:"otherwise"`
	} `yaml:"approval"`
	Undo    plugged `yaml:"undo"`
	Offline struct {
		Wait string `yaml:"wait"`
		Then string `yaml:"then"`
	} `yaml:"offline"`
}

// setup has the names of the Agent API. Its values are constants: no event says what is
// installed, or with which arguments a program runs.
type setup struct {
	Digest        string            `yaml:"digest"`
	PluginURL     string            `yaml:"plugin_url"`
	RepositoryURL string            `yaml:"repository_url"`
	Branch        string            `yaml:"branch"`
	Tag           string            `yaml:"tag"`
	CommitHash    string            `yaml:"commit_hash"`
	SubDirectory  string            `yaml:"sub_directory"`
	EntryPoint    string            `yaml:"entrypoint"`
	Arguments     []string          `yaml:"arguments"`
	Environment   map[string]string `yaml:"environment"`
}

type waitFor struct {
	Event  string `yaml:"event"`
	Where  string `yaml:"where"`
	Within string `yaml:"within"`
}

type output struct {
	plugged `yaml:",inline"`
	On      []string `yaml:"on"`
}

type agents struct {
	SameHost bool      `yaml:"same_host"`
	IDs      []string  `yaml:"ids"`
	Any      selection `yaml:"any"`
	Each     struct {
		selection      `yaml:",inline"`
		AtOnce         int    `yaml:"at_once"`
		StopWhenFailed string `yaml:"stop_when_failed"`
	} `yaml:"each"`
}

// selection picks agents.
type selection struct {
	IDs        []string `yaml:"ids"`
	Names      []string `yaml:"names"`
	Tags       []string `yaml:"tags"`
	Expression string   `yaml:"expression"`
}

// Parse checks a document whole and makes a definition of it. The error is a
// strictyaml.Errors with everything that is wrong, by file, line and column: keys,
// types, names, references, cycles, expressions. file is only used in messages.
func Parse(file string, src []byte) (*Definition, error) {
	d, _, err := checked(file, src, nil)
	return d, err
}

func checked(file string, src []byte, known *Known) (d *Definition, warnings strictyaml.Errors, err error) {
	if len(src) > MaxBytes {
		return nil, nil, strictyaml.Errors{{File: file, Message: fmt.Sprintf("is larger than %d bytes: split it into several workflows", MaxBytes)}}
	}
	var text document
	doc, err := strictyaml.Load(file, src, &text, strictyaml.WarnUnknown())
	if doc == nil {
		return nil, nil, err
	}
	c := checker{doc: doc, src: string(src), known: known, def: &Definition{digest: digestOf(src), read: map[string]bool{}}}
	c.errs = append(c.errs, c.doc.Unknown()...)
	if err == nil {
		c.definition(text)
		err = c.errs.Err()
	} else if errs, ok := err.(strictyaml.Errors); ok {
		err = append(c.errs, errs...).Sort()
	}
	if err != nil {
		return nil, c.warnings.Sort(), err
	}
	return c.def, c.warnings.Sort(), nil
}
