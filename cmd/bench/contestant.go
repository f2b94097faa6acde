package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// pair is one image and where it is to go.
type pair struct{ source, target string } // repository:tag

// task is what a contestant is asked to do.
type task struct {
	from, to  string // host:port
	pairs     []pair
	referrers bool
	tls       bool   // else plain HTTP
	home      string // a folder for its settings; new for each run
}

// plain are flags that tell of plain HTTP, if that is what is spoken.
func (t task) plain(flags ...string) []string {
	if t.tls {
		return nil
	}
	return flags
}

// command is one call of a program, with what its environment holds beside
// HOME.
type command struct {
	args        []string
	environment []string
}

// contestant is one program in one setting.
type contestant struct {
	name string
	// ours and floor are what the others are compared with.
	ours, floor bool
	// defaults tells that nothing is set but what has to be.
	defaults bool
	commands func(task) ([]command, error)
}

// one makes a contestant that takes a call for each image.
func one(call func(t task, p pair) command) func(task) ([]command, error) {
	return func(t task) ([]command, error) {
		var all []command
		for _, p := range t.pairs {
			all = append(all, call(t, p))
		}
		return all, nil
	}
}

// programs are the files to measure; "" leaves one out.
type programs struct{ self, ours, crane, regctl, oras, skopeo string }

// leftOut is a line for each peer that does not take part.
func (p programs) leftOut() []string {
	var lines []string
	for _, peer := range []struct{ name, file string }{{"crane", p.crane}, {"regctl", p.regctl}, {"oras", p.oras}, {"skopeo", p.skopeo}} {
		if peer.file == "" {
			lines = append(lines, peer.name+": not installed")
		}
	}
	return lines
}

const jobs = "8"

func contestants(p programs) []contestant {
	list := []contestant{
		{name: "floor", floor: true, defaults: true, commands: func(t task) ([]command, error) {
			args := []string{p.self, "floor", "-from", t.from, "-to", t.to, fmt.Sprintf("-referrers=%t", t.referrers), fmt.Sprintf("-tls=%t", t.tls)}
			for _, pair := range t.pairs {
				args = append(args, pair.source+"="+pair.target)
			}
			return []command{{args: args}}, nil
		}},
	}
	if p.ours != "" {
		list = append(list, contestant{name: "acrpromote", ours: true, defaults: true, commands: p.push})
	}
	if p.crane != "" {
		for _, more := range settings("-j", jobs) {
			// crane itself finds out what this machine's own address speaks.
			list = append(list, contestant{name: "crane" + more.suffix, defaults: more.none(), commands: one(func(t task, pair pair) command {
				args := append([]string{p.crane, "copy"}, more.args...)
				return command{args: append(args, t.from+"/"+pair.source, t.to+"/"+pair.target), environment: []string{"DOCKER_CONFIG=" + t.home}}
			})})
		}
	}
	if p.regctl != "" {
		for _, concurrent := range []int{0, 8} {
			name := "regctl"
			if concurrent > 0 {
				name += "+" + jobs
			}
			list = append(list, contestant{name: name, defaults: concurrent == 0, commands: func(t task) ([]command, error) {
				file, err := regctlSettings(t, concurrent)
				if err != nil {
					return nil, err
				}
				return one(func(t task, pair pair) command {
					args := []string{p.regctl, "image", "copy"}
					if t.referrers {
						args = append(args, "--referrers", "--digest-tags")
					}
					return command{args: append(args, t.from+"/"+pair.source, t.to+"/"+pair.target), environment: []string{"REGCTL_CONFIG=" + file}}
				})(t)
			}})
		}
	}
	if p.oras != "" {
		for _, more := range settings("--concurrency", jobs) {
			list = append(list, contestant{name: "oras" + more.suffix, defaults: more.none(), commands: one(func(t task, pair pair) command {
				args := append([]string{p.oras, "cp", "--no-tty"}, t.plain("--from-plain-http", "--to-plain-http")...)
				args = append(args, more.args...)
				if t.referrers {
					args = append(args, "--recursive")
				}
				return command{args: append(args, t.from+"/"+pair.source, t.to+"/"+pair.target), environment: []string{"DOCKER_CONFIG=" + t.home}}
			})})
		}
	}
	if p.skopeo != "" {
		list = append(list, contestant{name: "skopeo", defaults: true, commands: one(func(t task, pair pair) command {
			// Without these flags skopeo copies one platform, and may convert manifests: the
			// digests would differ.
			args := append([]string{p.skopeo, "--insecure-policy", "copy", "--all", "--preserve-digests", "--quiet"}, t.plain("--src-tls-verify=false", "--dest-tls-verify=false")...)
			return command{args: append(args, "docker://"+t.from+"/"+pair.source, "docker://"+t.to+"/"+pair.target)}
		})})
	}
	return list
}

// push is what a user of acrpromote would call: for one image its name, for
// many a flow file and their list.
func (p programs) push(t task) ([]command, error) {
	args := append([]string{p.ours, "invertedPush", fmt.Sprintf("--referrers=%t", t.referrers)}, t.plain("--plain-http", t.from, "--plain-http", t.to)...)
	if len(t.pairs) == 1 {
		args = append(args, "--source", t.from+"/"+t.pairs[0].source, "--targets", t.to+"/"+t.pairs[0].target, "--approval", "none")
		return []command{{args: args}}, nil
	}
	folder := ""
	var images strings.Builder
	for n, p := range t.pairs {
		before, ok := strings.CutSuffix(p.target, p.source)
		if !ok || n > 0 && before != folder {
			return nil, fmt.Errorf("no flow brings %s to %s and the others to %q", p.source, p.target, folder)
		}
		folder = before
		images.WriteString(p.source + "\n")
	}
	flow := fmt.Sprintf(`version: 1
trust: [dev, production]
registries:
  prod: {host: %q, trust: production}
  dev: {host: %q, trust: dev}
flows:
  all:
    from: prod
    to: [dev]
    repositories: ["**"]
    as: {repository: %q}
    require: {approval: {kind: none}, sealed: false}
`, t.from, t.to, folder+"{repository}")
	for name, content := range map[string]string{"flows.yml": flow, "images.txt": images.String()} {
		if err := os.WriteFile(filepath.Join(t.home, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	return []command{{args: append(args, "--flowFile", "flows.yml", "--flow", "all", "--imagesFrom", "images.txt")}}, nil
}

// setting is a way to call a program.
type setting struct {
	suffix string
	args   []string
}

func (s setting) none() bool { return len(s.args) == 0 }

func settings(args ...string) []setting {
	return []setting{{}, {"+" + jobs, args}}
}

// regctlSettings writes the file in which alone regctl can be told that a
// registry speaks HTTP.
func regctlSettings(t task, concurrent int) (string, error) {
	hosts := map[string]any{}
	for _, h := range []string{t.from, t.to} {
		host := map[string]any{"hostname": h}
		if !t.tls {
			host["tls"] = "disabled"
		}
		if concurrent > 0 {
			host["reqConcurrent"] = concurrent
		}
		hosts[h] = host
	}
	content, err := json.Marshal(map[string]any{"hosts": hosts})
	if err != nil {
		return "", err
	}
	file := filepath.Join(t.home, "regctl.json")
	return file, os.WriteFile(file, content, 0o600)
}

// pick keeps the contestants that a list names; a program's name stands for
// all of its settings.
func pick(list []contestant, names string) ([]contestant, error) {
	if names == "" {
		return list, nil
	}
	var picked []contestant
	for _, want := range strings.Split(names, ",") {
		found := false
		for _, c := range list {
			program, _, _ := strings.Cut(c.name, "+")
			if c.name == want || program == want {
				picked, found = append(picked, c), true
			}
		}
		if !found {
			return nil, fmt.Errorf("nobody here is called %q", want)
		}
	}
	return picked, nil
}
