package plugin

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// What the page on the contracts shows is what this package reads and writes.
func TestTheContractsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(docs + "contracts.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{GetInfo, Initialize, Start, Stop, GetHealth, DetectTriggers, ExecuteAction, SendOutput} {
		if !strings.Contains(string(page), `{"action": "`+action+`"`) {
			t.Errorf("contracts.md does not show %s", action)
		}
	}
	for _, of := range []reflect.Type{reflect.TypeFor[ActionRequest](), reflect.TypeFor[Message]()} {
		for i := range of.NumField() {
			if name := of.Field(i).Tag.Get("json"); !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("contracts.md does not name %s of %s", name, of.Name())
			}
		}
	}
	pushed := 0
	for _, m := range regexp.MustCompile("(?m)^(?:\\| `)?(\\{\"[a-z].*?\\})(?:`|$)").FindAllStringSubmatch(string(page), -1) {
		example := strings.ReplaceAll(m[1], "{…}", "{}")
		if !json.Valid([]byte(example)) || strings.Contains(example, `"action": "`) && !strings.Contains(example, "success") {
			continue // a command, or a form
		}
		pushed++
		if _, ok := DecodeLine([]byte(example)); !ok {
			t.Errorf("contracts.md shows %s, which is no line of the contract", m[1])
		}
	}
	if pushed < 4 {
		t.Errorf("%d lines of plugins are shown: want an answer, an event, a log record and progress", pushed)
	}
}
