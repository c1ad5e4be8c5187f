package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
)

// mebibytes is a flag of bytes that people count in MiB.
type mebibytes int64

var _ pflag.Value = (*mebibytes)(nil)

const mostMebibytes = 1 << 40 // an exbibyte

func (m *mebibytes) String() string { return strconv.FormatInt(int64(*m)>>20, 10) }

func (m *mebibytes) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > mostMebibytes {
		return fmt.Errorf("%q is no number of MiB, as in 256; 0 is none", text)
	}
	*m = mebibytes(n << 20)
	return nil
}

func (m *mebibytes) Type() string { return "MiB" }
