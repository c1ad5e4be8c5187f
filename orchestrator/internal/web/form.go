package web

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
)

// form is what somebody has filled in.
type form struct{ url.Values }

func readForm(c *route.Call) (form, error) {
	values, err := c.Form()
	return form{values}, err
}

// text is what a field has, without space around it.
func (f form) text(name string) string { return strings.TrimSpace(f.Get(name)) }

// number is a whole number from least on that a field has; absent when it is empty.
func (f form) number(name string, absent, least int) (int, error) {
	text := f.text(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least {
		return 0, api.Errorf(api.CodeInvalid, "%.40q is not a whole number from %d on; correct the field %s.", text, least, name)
	}
	return n, nil
}
