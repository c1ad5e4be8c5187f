package pyenv

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/stavily/agents/shared/internal/sandbox"
)

// failure is why pip did not install.
type failure struct {
	output string
	exit   sandbox.Exit
}

// What pip says, of which its versions from 20 on keep the words.
var (
	saysFull        = regexp.MustCompile(`(?m)^(?:ERROR: Could not install packages due to an (?:OSError|EnvironmentError)|OSError): \[(?:Errno 28|Errno \d+\] Disk quota exceeded|WinError (?:39|112))\b`)
	saysRequirer    = regexp.MustCompile(`Could not find a version that satisfies the requirement .+? \(from ([^-)][^)]*)\) \(from versions`)
	saysMissing     = regexp.MustCompile(`No matching distribution found for (.+)`)
	saysCandidates  = regexp.MustCompile(`Could not find a version that satisfies the requirement .* \(from versions: (.*)\)`)
	saysHash        = regexp.MustCompile(`(?s)DO NOT MATCH THE HASHES.*?\n +(\S+) from .*?Expected sha\d+ (\S+).*?Got +(\S+)`)
	saysUnhashed    = regexp.MustCompile(`(?s)Hashes are required in --require-hashes mode, but they are missing.*?\n +(\S+)`)
	saysUnpinned    = regexp.MustCompile(`(?s)all requirements must have their versions pinned with ==\. These do not:\s+(\S+)`)
	saysPython      = regexp.MustCompile(`Package '?([^' ]+)'? requires a different Python: \S+ not in '([^']*)'`)
	saysConflict    = regexp.MustCompile(`Cannot install (.+) because these package versions have conflicting dependencies`)
	saysDepends     = regexp.MustCompile(`(?m)^ {4}(.+ depends on .+)$`)
	saysHostile     = regexp.MustCompile(`For req: (\S+)\. (.+)`)
	saysInvalid     = regexp.MustCompile(`(?m)^ERROR: Invalid requirement: .*line (\d+) of`)
	saysBroken      = regexp.MustCompile(`(?m)^ERROR: (.*(?:Wheel|wheel).*(?:invalid|unsupported|bad|corrupt).*)$`)
	saysBuild       = regexp.MustCompile(`(?m)(?:Failed building wheel for|Could not build wheels for|Failed to build) (\S+)`)
	saysUnreachable = regexp.MustCompile(`(?m)(?:Could not fetch URL|Max retries exceeded|NewConnectionError|SSLError|Name or service not known|Connection refused|HTTP error \d+)`)
	saysError       = regexp.MustCompile(`(?m)^(?:ERROR|error): (.+)$`)
)

// missing reports whether something was not at hand.
func (f *failure) missing() bool { return f.exit.Reason == "" && saysMissing.MatchString(f.output) }

// explain says which requirement, why, and what to do. The error is syscall.ENOSPC where it is no
// fault of the requirements that this host had no room.
func (f *failure) explain(r *recipe) error {
	if f.exit.Reason != "" {
		return fmt.Errorf("installing %s: the build %s: require less, or bring wheels that need not be built", list(r.requirements.entries), f.exit)
	}
	for _, known := range []func(*failure, *recipe) error{
		explainFull, explainHash, explainPython, explainHostile, explainInvalid, explainConflict, explainMissing, explainBuild, explainUnreachable,
	} {
		if err := known(f, r); err != nil {
			return err
		}
	}
	reason := f.exit.String()
	if m := saysBroken.FindStringSubmatch(f.output); m != nil {
		return fmt.Errorf("a wheel is broken: %.300s: build it again, or take another", m[1])
	}
	if all := saysError.FindAllStringSubmatch(f.output, -1); len(all) > 0 {
		reason = all[len(all)-1][1]
	} else if lines := strings.Split(strings.TrimSpace(f.output), "\n"); lines[len(lines)-1] != "" {
		reason = lines[len(lines)-1]
	}
	return fmt.Errorf("installing %s: pip: %.300s: correct the requirements or the wheels (the whole output is in the log at level debug)", list(r.requirements.entries), reason)
}

// list names requirements, without their hashes.
func list(entries []entry) string {
	const most = 5
	var names []string
	for _, e := range entries {
		what, _, _ := strings.Cut(e.text, " --")
		names = append(names, what)
	}
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

// explainFull believes pip alone, whose lines begin so: what a package says while it is built is
// indented.
func explainFull(f *failure, r *recipe) error {
	if !saysFull.MatchString(f.output) {
		return nil
	}
	return fmt.Errorf("installing %s: %w: make room below the agent's directory", list(r.requirements.entries), syscall.ENOSPC)
}

func explainHash(f *failure, r *recipe) error {
	if m := saysHash.FindStringSubmatch(f.output); m != nil {
		return fmt.Errorf("%s%s has the hash %.16s…, and the requirements want %.16s…: somebody changed the package or the file of requirements; take the package that was meant, or correct the hash", r.where(m[1]), m[1], m[3], m[2])
	}
	if m := saysUnhashed.FindStringSubmatch(f.output); m != nil {
		return fmt.Errorf("%s%s has no hash, and other requirements have: give all of them, also what they depend on, as pip-compile --generate-hashes does", r.where(m[1]), m[1])
	}
	if m := saysUnpinned.FindStringSubmatch(f.output); m != nil {
		return fmt.Errorf("%s%s must have its version pinned with ==, because requirements have hashes", r.where(m[1]), m[1])
	}
	return nil
}

func explainPython(f *failure, r *recipe) error {
	m := saysPython.FindStringSubmatch(f.output)
	if m == nil {
		return nil
	}
	return fmt.Errorf("%s%s needs Python %s, and the plugin runs on %s (%s): take another version of it, or set runtime.version in the manifest to what it needs", r.where(m[1]), m[1], m[2], r.base.Version, r.base.Path)
}

// explainHostile is for wheels whose files pip does not put where they would go.
func explainHostile(f *failure, _ *recipe) error {
	m := saysHostile.FindStringSubmatch(f.output)
	if m == nil {
		return nil
	}
	return fmt.Errorf("the wheel of %s is broken or hostile: do not use it (%.200s)", m[1], m[2])
}

func explainInvalid(f *failure, r *recipe) error {
	m := saysInvalid.FindStringSubmatch(f.output)
	if m == nil {
		return nil
	}
	line, err := strconv.Atoi(m[1])
	if err != nil || line < 1 || line > len(r.requirements.entries) {
		return nil
	}
	e := r.requirements.entries[line-1]
	return fmt.Errorf("%s: %.80q is not a requirement: write for example name==1.2.3", e.at, e.text)
}

func explainConflict(f *failure, _ *recipe) error {
	m := saysConflict.FindStringSubmatch(f.output)
	if m == nil {
		return nil
	}
	var why []string
	for _, d := range saysDepends.FindAllStringSubmatch(f.output, -1) {
		why = append(why, d[1])
	}
	return fmt.Errorf("%s do not go together (%.300s): change a version of one of them", m[1], strings.Join(why, "; "))
}

func explainBuild(f *failure, _ *recipe) error {
	m := saysBuild.FindStringSubmatch(f.output)
	if m == nil {
		return nil
	}
	reason := "see the log at level debug"
	if all := saysError.FindAllStringSubmatch(f.output, -1); len(all) > 0 {
		reason = all[0][1]
	}
	return fmt.Errorf("%s could not be built from its source (%.200s): build a wheel of it where that works (pip wheel), and put it into the plugin's wheels/", m[1], reason)
}

func explainUnreachable(f *failure, r *recipe) error {
	m := saysUnreachable.FindString(f.output)
	if m == "" {
		return nil
	}
	return fmt.Errorf("installing %s: the index (plugins.python.index_url), or another host that it names for a file, cannot be reached (%s): builds reach the index alone", list(r.requirements.entries), m)
}

// explainMissing looks for the reason among the files at hand: most often there is one
// of the right name that does not fit.
func explainMissing(f *failure, r *recipe) error {
	m := saysMissing.FindStringSubmatch(f.output)
	if m == nil {
		return nil
	}
	what, _, _ := strings.Cut(strings.TrimSpace(m[1]), " (from ")
	what, _, _ = strings.Cut(what, " --")
	at := r.where(what)
	if by := saysRequirer.FindStringSubmatch(f.output); at == "" && by != nil {
		requirer, _, _ := strings.Cut(by[1], "->")
		at = fmt.Sprintf("%s requires ", requirer)
	}
	project := projectName(what)
	var near []artifact
	for _, a := range r.artifacts {
		if a.project() == project {
			near = append(near, a)
		}
	}
	return fmt.Errorf("%s%s: %s", at, what, r.lack(f, near))
}

// lack is why a requirement is not met, given the files at hand that bear its name,
// and what to do.
func (r *recipe) lack(f *failure, near []artifact) string {
	versions := ""
	if m := saysCandidates.FindStringSubmatch(f.output); m != nil && m[1] != "none" {
		versions = m[1]
	}
	isWheel := func(a artifact) bool { return a.isWheel() }
	switch {
	case saysUnreachable.MatchString(f.output):
		return fmt.Sprintf("is not at hand, and the index (plugins.python.index_url) does not answer: %s", saysUnreachable.FindString(f.output))
	case versions != "":
		return fmt.Sprintf("there are other versions (%.200s): add a wheel of the one that is wanted, or change the requirement", versions)
	case slices.ContainsFunc(near, isWheel):
		a := near[slices.IndexFunc(near, isWheel)]
		return fmt.Sprintf("%s is not for Python %s on this platform: add a wheel that is (pip download --only-binary :all: --python-version %s)", a.name, r.base.Version, r.base.Version)
	case len(near) > 0:
		return fmt.Sprintf("%s is a source package: put a wheel of it there (pip wheel), or set plugins.python.allow_sdist to have it built here", near[0].name)
	case r.policy.IndexURL != "":
		return "is neither at hand nor in the index (plugins.python.index_url) as a wheel: correct the name or the version, or put a wheel into the plugin's wheels/"
	}
	return fmt.Sprintf("there is no wheel of it in the plugin's wheels/%s, and no index is set: add one (pip download -d wheels), or set plugins.python.index_url", r.alsoIn())
}

func (r *recipe) alsoIn() string {
	if r.policy.WheelDir == "" {
		return ""
	}
	return " or " + r.policy.WheelDir
}

// where is the place of a requirement in the plugin, as the beginning of a message;
// empty where only something else requires it.
func (r *recipe) where(requirement string) string {
	project := projectName(requirement)
	for _, e := range r.requirements.entries {
		if projectName(e.text) == project {
			return e.at + ": "
		}
	}
	return ""
}

// redact takes the index's credentials out of a text.
func (r *recipe) redact(text string) string {
	_, secrets := splitCredentials(r.policy.IndexURL)
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "[redacted]")
	}
	return text
}

// splitCredentials gives a URL without its user, and the forms in which that may show.
func splitCredentials(text string) (bare string, secrets []string) {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text, nil
	}
	secrets = []string{u.User.String()}
	if password, set := u.User.Password(); !set { // a token stands alone
		secrets = append(secrets, u.User.Username())
	} else if password != "" {
		secrets = append(secrets, password, url.QueryEscape(password))
	}
	u.User = nil
	return u.String(), secrets
}
