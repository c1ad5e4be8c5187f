package plugin

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v4"
)

// events reads what a sensor says of its events. It is for who writes a workflow, and nothing
// runs by it: in a manifest of before this key had a meaning it is warned of and passed over.
func (d *decoder) events(f *manifestFile) {
	if f.Events.Kind == 0 {
		return
	}
	var types map[string]map[string]propertyFile
	if f.Events.Kind == yaml.MappingNode {
		if err := f.Events.Load(&types); err != nil {
			types = nil
		}
	}
	if types == nil {
		d.at("events").warn("is passed over: write each type of event with its data, such as disk.space.high: {mount: {type: string}}")
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		d.manifest.Events = append(d.manifest.Events, EventType{name, d.schemaAt(d.at("events", name), types[name])})
	}
}
