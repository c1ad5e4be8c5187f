package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// leaf is one key of a Config and its value, which can be set.
type leaf struct {
	path  []any // of strings, as strictyaml takes it
	value reflect.Value
}

// leaves lists the keys of c in the order of the structs.
func leaves(c *Config) []leaf { return appendLeaves(nil, nil, reflect.ValueOf(c).Elem()) }

func appendLeaves(out []leaf, path []any, section reflect.Value) []leaf {
	for field, value := range section.Fields() {
		at := append(path[:len(path):len(path)], field.Tag.Get("yaml"))
		_, isValue := value.Addr().Interface().(encoding.TextUnmarshaler)
		if field.Type.Kind() == reflect.Struct && !isValue {
			out = appendLeaves(out, at, value)
		} else {
			out = append(out, leaf{at, value})
		}
	}
	return out
}

// find returns the leaf of a key that is known to exist.
func find(c *Config, key string) leaf {
	for _, l := range leaves(c) {
		if l.key() == key {
			return l
		}
	}
	panic("config: no key " + key)
}

// key is the dotted name: api.base_url.
func (l leaf) key() string { return join(l.path, ".") }

// variable is the name in the environment: STAVILY_API_BASE_URL.
func (l leaf) variable() string { return envPrefix + strings.ToUpper(join(l.path, "_")) }

func join(path []any, by string) string {
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = name.(string)
	}
	return strings.Join(names, by)
}

// set parses text into the value, whose type decides how. On an error the value
// is as it was.
func (l leaf) set(text string) error {
	if u, ok := l.value.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch l.value.Kind() {
	case reflect.String:
		l.value.SetString(text)
	case reflect.Slice:
		l.setList(text)
	case reflect.Map:
		return l.setMap(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q: must be true or false", text)
		}
		l.value.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q: must be a whole number", text)
		}
		l.value.SetInt(int64(n))
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q: must be a number", text)
		}
		l.value.SetFloat(f)
	default:
		panic("config: " + l.key() + " has a type that no text can set")
	}
	return nil
}

// setList splits at commas and drops space around items and empty ones.
func (l leaf) setList(text string) {
	list := reflect.MakeSlice(l.value.Type(), 0, 0)
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = reflect.Append(list, reflect.ValueOf(item).Convert(l.value.Type().Elem()))
		}
	}
	l.value.Set(list)
}

// setMap takes "key=value, key=value" and drops space around them.
func (l leaf) setMap(text string) error {
	typ := l.value.Type()
	out := reflect.MakeMap(typ)
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		key, value, found := strings.Cut(item, "=")
		if key = strings.TrimSpace(key); !found || key == "" {
			return errors.New("must be key=value, with commas between several")
		}
		elem := reflect.New(typ.Elem())
		if err := (leaf{l.path, elem.Elem()}).set(strings.TrimSpace(value)); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(key).Convert(typ.Key()), elem.Elem())
	}
	l.value.Set(out)
	return nil
}

// texts are the texts that the value holds, each of which can be set.
func (l leaf) texts() []reflect.Value {
	switch {
	case l.value.Kind() == reflect.String:
		return []reflect.Value{l.value}
	case l.value.Kind() == reflect.Slice && l.value.Type().Elem().Kind() == reflect.String:
		out := make([]reflect.Value, l.value.Len())
		for i := range out {
			out[i] = l.value.Index(i)
		}
		return out
	}
	return nil
}
