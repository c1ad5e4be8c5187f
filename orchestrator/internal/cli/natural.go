package cli

import (
	"errors"
	"strconv"

	"github.com/spf13/pflag"
)

// natural is a flag of a number that is never below 0, such as that of a version.
type natural int

var _ pflag.Value = (*natural)(nil)

func (n *natural) String() string { return strconv.Itoa(int(*n)) }

func (n *natural) Set(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 {
		return errors.New("must be a number, 0 or more")
	}
	*n = natural(v)
	return nil
}

func (n *natural) Type() string { return "int" }
