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
	home      string // a folder for its settings; new for each run
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

const jobs = "8"

func contestants(p programs) []contestant {
	list := []contestant{
		{name: "floor", floor: true, defaults: true, commands: func(t task) ([]command, error) {
			args := []string{p.self, "floor", "-from", t.from, "-to", t.to, fmt.Sprintf("-referrers=%t", t.referrers)}
			for _, pair := range t.pairs {
				args = append(args, pair.source+"="+pair.target)
			}
			return []command{{args: args}}, nil
		}},
	}
	if p.ours != "" {
		// One image a call, as long as the command line takes no more.
		list = append(list, contestant{name: "acrpromote", ours: true, defaults: true, commands: one(func(t task, pair pair) command {
			return command{args: []string{p.ours, "invertedPush", "--source", t.from + "/" + pair.source, "--targets", t.to + "/" + pair.target,
				"--approval", "none", "--plain-http", t.from, "--plain-http", t.to, fmt.Sprintf("--referrers=%t", t.referrers)}}
		})})
	}
	if p.crane != "" {
		for _, more := range settings("-j", jobs) {
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
				args := append([]string{p.oras, "cp", "--no-tty", "--from-plain-http", "--to-plain-http"}, more.args...)
				if t.referrers {
					args = append(args, "--recursive")
				}
				return command{args: append(args, t.from+"/"+pair.source, t.to+"/"+pair.target), environment: []string{"DOCKER_CONFIG=" + t.home}}
			})})
		}
	}
	if p.skopeo != "" {
		list = append(list, contestant{name: "skopeo", defaults: true, commands: one(func(t task, pair pair) command {
			return command{args: []string{p.skopeo, "--insecure-policy", "copy", "--all", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false",
				"docker://" + t.from + "/" + pair.source, "docker://" + t.to + "/" + pair.target}}
		})})
	}
	return list
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
		host := map[string]any{"tls": "disabled", "hostname": h}
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
