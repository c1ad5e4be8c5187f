package web

import (
	"fmt"
	"html/template"
	"io"
	"strings"
)

// inline is a picture as a part of a page. What draws it escapes the texts in it.
func inline(draw func(io.Writer) error) (template.HTML, error) {
	var b strings.Builder
	if err := draw(&b); err != nil {
		return "", err
	}
	return template.HTML(b.String()), nil
}

// spark is a row of bars of which each is a number, and the lower part of it that went wrong.
type spark struct {
	Title string
	Bars  []sparkBar
}

type sparkBar struct {
	All, Bad int
	Title    string
}

// Sizes of a spark line in user units.
const (
	sparkBarWidth, sparkGap, sparkHeight = 6, 2, 24
)

// svg draws the bars against the highest of them.
func (s spark) svg(w io.Writer) error {
	most := 1
	for _, b := range s.Bars {
		most = max(most, b.All)
	}
	var b strings.Builder
	width := len(s.Bars) * (sparkBarWidth + sparkGap)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="spark" width="%d" height="%d" viewBox="0 0 %d %d" role="img"><title>%s</title>`,
		width, sparkHeight, width, sparkHeight, template.HTMLEscapeString(s.Title))
	rect := func(class string, i, from, height int) {
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d"/>`, class, i*(sparkBarWidth+sparkGap), sparkHeight-from-height, sparkBarWidth, height)
	}
	for i, one := range s.Bars {
		if one.All == 0 {
			rect("none", i, 0, 2)
			continue
		}
		all := max(3, one.All*sparkHeight/most)
		bad := one.Bad * all / one.All
		if one.Bad > 0 {
			bad = max(bad, 3)
			rect("bad", i, 0, min(bad, all))
		}
		if all > bad {
			rect("good", i, bad, all-bad)
		}
	}
	b.WriteString("</svg>")
	_, err := io.WriteString(w, b.String())
	return err
}
