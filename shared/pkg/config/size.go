package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written with a unit: "256MB", "1GiB". KB, MB and GB
// are powers of 1000, KiB, MiB and GiB powers of 1024 (IEC 80000-13); a bare
// number, or one with B, is bytes.
type Size int64

// The units of a Size.
const (
	Byte     Size = 1
	Kilobyte      = 1000 * Byte
	Kibibyte      = 1024 * Byte
	Megabyte      = 1000 * Kilobyte
	Mebibyte      = 1024 * Kibibyte
	Gigabyte      = 1000 * Megabyte
	Gibibyte      = 1024 * Mebibyte
)

// sizeUnits goes from large to small, and a suffix comes after those that end
// in it.
var sizeUnits = []struct {
	suffix string
	unit   Size
}{
	{"GiB", Gibibyte}, {"GB", Gigabyte}, {"MiB", Mebibyte}, {"MB", Megabyte}, {"KiB", Kibibyte}, {"KB", Kilobyte}, {"B", Byte},
}

// ParseSize reads a whole number and, after optional space, a unit in any case.
func ParseSize(s string) (Size, error) {
	digits, unit := s, Byte
	for _, u := range sizeUnits {
		if cut := len(s) - len(u.suffix); cut > 0 && strings.EqualFold(s[cut:], u.suffix) {
			digits, unit = strings.TrimRight(s[:cut], " "), u.unit
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || Size(n) > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size: write a whole number with B, KB, MB, GB, KiB, MiB or GiB, for example 256MB", s)
	}
	return Size(n) * unit, nil
}

// Bytes is the number of bytes.
func (s Size) Bytes() int64 { return int64(s) }

// String writes s exactly, in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%u.unit == 0 {
			return strconv.FormatInt(int64(s/u.unit), 10) + u.suffix
		}
	}
	return "0B"
}

// UnmarshalText reads what ParseSize does.
func (s *Size) UnmarshalText(b []byte) (err error) {
	*s, err = ParseSize(string(b))
	return err
}

// MarshalText writes String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
