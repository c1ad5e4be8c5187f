package plugin

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// units of sizes, in lower case: powers of 1000 and, with an i, of 1024 (IEC
// 80000-13), as in the agent's own configuration; and the short forms of
// Kubernetes, which manifests use too.
var units = map[string]int64{
	"": 1, "b": 1,
	"k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9,
	"ki": 1 << 10, "kib": 1 << 10, "mi": 1 << 20, "mib": 1 << 20, "gi": 1 << 30, "gib": 1 << 30,
}

func parseSize(s string) (int64, error) {
	i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if i < 0 {
		i = len(s)
	}
	n, err := strconv.ParseInt(s[:i], 10, 64)
	unit, ok := units[strings.ToLower(strings.TrimSpace(s[i:]))]
	if err != nil || !ok || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size: write a whole number with a unit, for example 64MB", s)
	}
	return n * unit, nil
}

// parseDuration reads "180s", "5m", "unlimited"; a bare number is seconds.
func parseDuration(s string) (time.Duration, error) {
	if strings.EqualFold(s, "unlimited") {
		return Unlimited, nil
	}
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		s = strconv.FormatFloat(seconds, 'f', -1, 64) + "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a duration: write a number with a unit, for example 180s, or unlimited", s)
	}
	return d, nil
}

// InRange reports whether a version of a plugin is in a range such as "^1.2". It fails only
// where the range is none.
func InRange(version, within string) (bool, error) {
	constraint, err := semver.NewConstraint(within)
	if err != nil {
		return false, err
	}
	v, err := semver.NewVersion(version)
	return err == nil && constraint.Check(v), nil
}

var plainVersion = regexp.MustCompile(`^[0-9]+(\.[0-9]+){0,2}$`)

// versionRange reads runtime.version: "3.8+", a range such as ">=3.8, <4", or a
// plain version, which means what the author had: that or a later one of the same
// major version.
func versionRange(s string) (*semver.Constraints, error) {
	text := strings.TrimSpace(s)
	switch plain := strings.TrimSpace(strings.TrimSuffix(text, "+")); {
	case plain != text && plainVersion.MatchString(plain):
		text = ">=" + plain
	case plainVersion.MatchString(text):
		text = "^" + text
	}
	c, err := semver.NewConstraint(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a version: write for example \"3.8+\" or \">=3.8, <4\"", s)
	}
	return c, nil
}

// Accepts reports whether an interpreter of this version satisfies
// runtime.version. A development build counts as its release.
func (r Runtime) Accepts(version string) (bool, error) {
	if r.Version == "" {
		return true, nil
	}
	c, err := versionRange(r.Version)
	if err != nil {
		return false, err
	}
	v, err := semver.NewVersion(version)
	if err != nil {
		return false, fmt.Errorf("version %q of the interpreter: %w", version, err)
	}
	return c.Check(semver.New(v.Major(), v.Minor(), v.Patch(), "", "")), nil
}
