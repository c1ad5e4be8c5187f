package diagram

import (
	"fmt"
	"html"
	"io"
	"strings"
	"time"
)

// Bar is one thing that waited from Asked to Began and was under way from then to Ended. A
// time that has not come is zero.
type Bar struct {
	Name, Word, Link    string
	State               string // becomes a class
	Asked, Began, Ended time.Time
}

// Timeline shows when each of several things waited and was under way.
type Timeline struct {
	Title    string
	From, To time.Time
	Bars     []Bar
}

// Sizes in user units.
const (
	nameWidth, laneWidth = 200, 620
	wordWidth            = 110
	laneHeight           = 26
	axisHeight           = 24
	leastBar             = 3 // what took no time to speak of is seen all the same
	maxName              = 26
)

// Inline writes the timeline for a page that has the style of its classes.
func (t Timeline) Inline(w io.Writer) error {
	if len(t.Bars) == 0 {
		return nil
	}
	span := max(t.To.Sub(t.From), time.Millisecond)
	width, height := nameWidth+laneWidth+wordWidth, axisHeight+len(t.Bars)*laneHeight+8
	at := func(when time.Time) int {
		return nameWidth + int(float64(laneWidth)*min(1, max(0, float64(when.Sub(t.From))/float64(span))))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="timeline" viewBox="0 0 %d %d" width="%d" height="%d" role="group"><title>%s</title>`,
		width, height, width, height, html.EscapeString(t.Title))
	step := tick(span)
	for mark := time.Duration(0); mark <= span; mark += step {
		x := at(t.From.Add(mark))
		fmt.Fprintf(&b, `<path class="tick" d="M%d %dV%d"/><text class="axis" x="%d" y="14" text-anchor="middle">%s</text>`, x, axisHeight-4, height-4, x, mark)
	}
	for i, bar := range t.Bars {
		bar.draw(&b, axisHeight+i*laneHeight, t.To, at)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (bar Bar) draw(b *strings.Builder, y int, now time.Time, at func(time.Time) int) {
	ended := bar.Ended
	if ended.IsZero() {
		ended = now
	}
	began := bar.Began
	if began.IsZero() || began.After(ended) {
		began = ended
	}
	text := fmt.Sprintf("%s: %s, waited %s", bar.Name, bar.Word, began.Sub(bar.Asked).Round(time.Millisecond))
	if !bar.Began.IsZero() {
		text += fmt.Sprintf(", took %s", ended.Sub(began).Round(time.Millisecond))
	}
	fmt.Fprintf(b, `<a href="%s"><g class="bar is-%s"><title>%s</title><text x="%d" y="%d" text-anchor="end">%s</text>`,
		html.EscapeString(bar.Link), html.EscapeString(bar.State), html.EscapeString(text), nameWidth-10, y+16, html.EscapeString(clip(bar.Name, maxName)))
	if x := at(bar.Asked); at(began) > x {
		fmt.Fprintf(b, `<rect class="waited" x="%d" y="%d" width="%d" height="4" rx="2"/>`, x, y+10, at(began)-x)
	}
	end := at(ended)
	if !bar.Began.IsZero() {
		end = max(end, at(began)+leastBar)
		fmt.Fprintf(b, `<rect class="ran" x="%d" y="%d" width="%d" height="14" rx="2"/>`, at(began), y+5, end-at(began))
	}
	fmt.Fprintf(b, `<text class="word" x="%d" y="%d">%s</text></g></a>`, end+6, y+16, html.EscapeString(bar.Word))
}

// tick is how far the marks of an axis are apart: at most ten, of a round length.
func tick(span time.Duration) time.Duration {
	const most = 8
	for _, unit := range []time.Duration{
		time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
		30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	} {
		if span/unit <= most {
			return unit
		}
	}
	return (span/most/(24*time.Hour) + 1) * 24 * time.Hour
}
