package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

const day = 24 * time.Hour

// days is a flag of a time that people count in days: 30d, or 12h as durations are; 0 is none.
type days time.Duration

var _ pflag.Value = (*days)(nil)

func (d *days) String() string {
	if t := time.Duration(*d); t == 0 || t%day != 0 {
		return t.String()
	}
	return strconv.FormatInt(int64(time.Duration(*d)/day), 10) + "d"
}

func (d *days) Set(text string) error {
	if count, is := strings.CutSuffix(text, "d"); is {
		n, err := strconv.ParseUint(count, 10, 32)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return fmt.Errorf("%q is no number of days, as in 30d", text)
		}
		*d = days(time.Duration(n) * day)
		return nil
	}
	t, err := time.ParseDuration(text)
	if err != nil || t < 0 {
		return fmt.Errorf("%q is no time, as in 30d or 12h; 0 is for ever", text)
	}
	*d = days(t)
	return nil
}

func (d *days) Type() string { return "time" }
