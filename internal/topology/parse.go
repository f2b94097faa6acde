package topology

import (
	"slices"

	"acrpromote/internal/sorting"
)

// Parse parses and validates a flow file; name is its name in errors. The error
// is an *Invalid with all problems, sorted by position. The order of keys and
// lists in the file does not matter, except that of trust.
func Parse(name string, content []byte) (*File, error) {
	d, file := parse(content)
	if err := d.err(name); err != nil {
		return nil, err
	}
	file.normalize()
	return file, nil
}

func parse(content []byte) (*decoder, *File) {
	d := newDecoder()
	text, ok := clean(d.problems, content, maxBytes)
	if !ok || !checkTabs(d.problems, text) || !checkMarks(d.problems, text, maxMarks) {
		return d, nil
	}
	root := one(d.problems, text)
	if root == nil {
		return d, nil
	}
	file := &File{}
	d.decode(root, file)
	for name, r := range file.Registries {
		r.Name = name
	}
	for name, f := range file.Flows {
		f.Name = name
	}
	c := checker{decoder: d, file: file}
	c.check()
	return d, file
}

// normalize sorts the lists whose order has no meaning, and indexes registries by
// host.
func (f *File) normalize() {
	f.hosts = map[string]*Registry{}
	for _, r := range f.Registries {
		f.hosts[string(r.Host)] = r
		for _, host := range r.Hosts {
			f.hosts[string(host)] = r
		}
		slices.Sort(r.Hosts)
		slices.Sort(r.Expect.Writers)
		slices.Sort(r.Expect.Readers)
	}
	for _, flow := range f.Flows {
		slices.Sort(flow.To)
		byText(flow.Repositories)
		byText(flow.Tags)
		byText(flow.MovingTags)
		for _, patterns := range flow.Teams {
			byText(patterns)
		}
		slices.Sort(flow.Referrers.Include)
		slices.Sort(flow.Referrers.Exclude)
		byText(flow.Require.Branches)
		if by := flow.Require.SealedBy; by != nil {
			slices.Sort(by.Projects)
			slices.Sort(by.Pipelines)
			byText(by.Branches)
		}
		slices.Sort(flow.Require.Approval.Approvers)
		sorting.By(flow.Require.Approval.Checks, compareChecks)
		sorting.By(flow.Require.Attached, compareAttached)
	}
}
