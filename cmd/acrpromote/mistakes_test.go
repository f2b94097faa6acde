package main_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrpromote/internal/sim"
	"acrpromote/internal/testimage"
)

// mistake is something that a user gets wrong, or a failure whose message once misled
// a user.
type mistake struct {
	name string
	// do makes the mistake, and returns what the program said.
	do    func(t *testing.T) outcome
	says  []string
	never []string
}

// inRun makes a mistake in a task, where an inverted push would be allowed.
func inRun(do func(env *testEnv) outcome) func(t *testing.T) outcome {
	return func(t *testing.T) outcome {
		env, _ := ready(t)
		env.broken = true
		return do(env)
	}
}

// inInputs makes a mistake in the inputs of a task.
func inInputs(in inputs) func(t *testing.T) outcome {
	return inRun(func(env *testEnv) outcome { return env.task(in) })
}

// inFlowFile makes a mistake in the flow file of a task.
func inFlowFile(in inputs, change ...string) func(t *testing.T) outcome {
	return inRun(func(env *testEnv) outcome {
		return env.task(in.with("flowFile", env.flowFile(strings.NewReplacer(change...).Replace(sandbox))))
	})
}

// inCheck makes a mistake in a flow file that is checked.
func inCheck(change ...string) func(t *testing.T) outcome {
	return func(t *testing.T) outcome {
		t.Parallel()
		p := newPerson(t, nil)
		p.write("flows.yml", strings.NewReplacer(change...).Replace(sandbox))
		return p.run("check", "--flowFile", "flows.yml")
	}
}

// inResponses makes services respond wrongly to an inverted push.
func inResponses(faults ...sim.Fault) func(t *testing.T) outcome {
	return inRun(func(env *testEnv) outcome {
		env.cloud.Script(faults...)
		return env.task(push())
	})
}

// atPrompt makes a mistake at a prompt, with files in the user's folder: name, content.
func atPrompt(files map[string]string, arguments ...string) func(t *testing.T) outcome {
	return func(t *testing.T) outcome {
		t.Parallel()
		p := newPerson(t, nil)
		for name, content := range files {
			p.write(name, content)
		}
		return p.run(append(arguments, "--output", "json")...)
	}
}

func (p *person) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// outsideAt makes a mistake with two registries outside Azure at a prompt. password is
// that of the target.
func outsideAt(password string, change func(env *testEnv, source, target *sim.Registry), arguments ...string) func(t *testing.T) outcome {
	return func(t *testing.T) outcome {
		env := newTestEnv(t)
		source, target := env.outsideAzure()
		pushImage(source, cart, release, 1, 2, 2048)
		if change != nil {
			change(env, source, target)
		}
		entry := func(password string) map[string]string {
			return map[string]string{"username": "puller", "password": password}
		}
		auths := map[string]any{source.Host(): entry("the-password-of-puller~1")}
		if password != "" {
			auths[target.Host()] = entry(password)
		}
		return env.atPrompt(map[string]any{"auths": auths}).run(append(outsidePush(source, target), arguments...)...)
	}
}

// atCNCF audits an image that a CNCF registry does not have.
func atCNCF(image string) func(t *testing.T) outcome {
	return func(t *testing.T) outcome {
		t.Parallel()
		prod := startRegistry(t)
		pushImage(prod, cart, release, 1, 1, 512)
		p := newPerson(t, map[string]string{prod.host: realUser + ":" + realPassword})
		return p.run("audit", "--source", prod.host+"/"+image, "--targets", prod.host+"/released/cart:1", "--plain-http", prod.host, "--output", "json")
	}
}

// withManifests makes a mistake in manifests that name the images.
func withManifests(images ...string) func(t *testing.T) outcome {
	return inRun(func(env *testEnv) outcome {
		content := "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n"
		for _, image := range images {
			content += "  - image: \"" + image + "\"\n"
		}
		path := filepath.Join(env.folder(), "images.yml")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			env.t.Fatal(err)
		}
		return env.task(inputs{"action": "invertedPush", "flowFile": env.flowFile(sandbox), "flow": "released", "imagesFrom": path})
	})
}

// refusesUpload is a registry that refuses manifests with a body.
func refusesManifest(status int, body string) sim.Fault {
	return sim.Fault{Host: devHost, Method: "PUT", Path: "/manifests/", Times: sim.Always, Do: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}}
}

// plainHTTP sends plain HTTP to a server, as source or target of an audit.
func plainHTTP(serve func(t *testing.T) (host string)) func(t *testing.T) outcome {
	return func(t *testing.T) outcome {
		t.Parallel()
		host := serve(t)
		return newPerson(t, map[string]string{host: "puller:a-password~12345"}).run("audit", "--source", host+"/"+cart+":"+release, "--targets", host+"/"+cart+":2", "--plain-http", host, "--output", "json")
	}
}

func tlsServer(t *testing.T) string {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// saying is a server that responds with 400 and a text.
func saying(text string) func(t *testing.T) string {
	return func(t *testing.T) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, http.StatusBadRequest) }))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
}

var (
	atCart  = prodHost + "/" + cart
	auditIn = inputs{"action": "audit", "source": source, "targets": devHost + "\n" + dev2Host}
)

// audited breaks the copy at DEV after a push, and audits.
func audited(breaks func(env *testEnv, image descriptor)) func(t *testing.T) outcome {
	return func(t *testing.T) outcome {
		env, image := ready(t)
		env.task(push("targets", devHost+"\n"+dev2Host)).want("done")
		env.broken = true
		breaks(env, image)
		return env.task(auditIn.with("deep", "true"))
	}
}

const rerunHint = "Run the step again. If"

var mistakes = []mistake{
	{"a wrong host, with a flow file", inFlowFile(push("source", "contosoprd.azurecr.io/"+cart+":"+release, "targets", "")),
		[]string{"has no registry with host contosoprd.azurecr.io", "Did you mean contosoprod.azurecr.io? If not, ask the owners"}, []string{"none required"}},
	{"a wrong host of a target", inFlowFile(push("targets", "contosodve.azurecr.io")), []string{"Did you mean contosodev.azurecr.io?"}, nil},
	{"a wrong suffix of a host", inFlowFile(push("targets", "contosodev.azurecr.oi")), []string{"Did you mean contosodev.azurecr.io?"}, nil},
	{"a host like none in the flow file", inFlowFile(push("targets", "fabrikam.azurecr.io")), []string{"has no registry with host fabrikam.azurecr.io", "Ask the owners of the flow file to add it."}, []string{"Did you mean"}},
	{"a mistyped flow", inFlowFile(push("flow", "relesed")), []string{`unknown flow "relesed"`, "Did you mean released?"}, []string{"?.", "Use the name of a flow"}},

	{"no environment", inInputs(push("environment", "")), []string{"the input environment is empty", "guard: environment Production (approval)"}, nil},
	{"an environment with a typo", inInputs(push("environment", "Productoin")), []string{"Did you mean Production? If not, add an approval to the environment Productoin"}, nil},
	{"an environment that is a service connection", inRun(func(env *testEnv) outcome {
		env.connection.AddApproval(sim.ApprovalSettings{Approvers: []sim.Identity{manager}, MinRequired: 1})
		env.queue()
		env.approve(manager, "released")
		return env.task(push("environment", "release-identity"))
	}), []string{"Did you mean endpoint:release-identity?"}, nil},
	{"a stage with a typo", inInputs(push("approvalStage", "Productoin")), []string{`this run has no such stage; its stages are`, "Did you mean Production?"}, []string{"?."}},

	{"an environment that was not expanded", inInputs(push("environment", "$(env)")), []string{"environment: the variable env is not set, so $(env) was not replaced", "Set the variable, or correct its name."}, []string{"Add an approval"}},
	{"a tag that was not expanded", inInputs(push("source", atCart+":$(tag)")), []string{"source: the variable tag is not set, so $(tag) was not replaced"}, []string{"is not a valid tag"}},
	{"a template expression", inInputs(push("source", atCart+":${{ parameters.tag }}")), []string{"the template expression ${{ parameters.tag }} was not expanded", "in the YAML file"}, []string{"is not a valid tag"}},
	{"a runtime expression", inInputs(push("digest", "$[ variables.digest ]")), []string{"the runtime expression $[ variables.digest ] was not expanded", "as the whole value of a variable"}, []string{"is not a valid digest"}},
	{"several variables that are not set", inInputs(push("source", "$(registry)/"+cart+":$(tag)", "targets", devHost+"\n$(dev2)", "minApprovers", "$(two)", "commentPattern", "CHG$(ticket)", "dryRun", "$(dry)", "lock", "$(lock)")),
		[]string{"the variable registry is not set", "the variable tag is not set", "the variable dev2 is not set", "the variable two is not set", "the variable ticket is not set", "the variable dry is not set", "the variable lock is not set"},
		[]string{"requires a source", "is neither true nor false", "positive integer"}},
	{"inputs of a set that were not expanded", inInputs(inputs{"action": "invertedPush", "flowFile": "$(flowFile)", "flow": "$(flow)", "images": "shop/cart:$(tag)"}),
		[]string{"the variable flowFile is not set", "the variable flow is not set", "the variable tag is not set"}, []string{"requires a source", "require flowFile"}},
	{"a pattern that ends a line", inInputs(push("commentPattern", `CHG\d+$`)), []string{`CHG\d+$`, "comment-pattern"}, []string{"is not set", `\\d`}},

	{"an empty tag", inInputs(push("source", atCart+":")), []string{"has an empty tag", "Is a variable empty?"}, []string{`"" is not a valid tag`}},
	{"an empty host", inInputs(push("source", "/"+cart+":1")), []string{"has an empty registry host", "Is a variable empty?"}, nil},
	{"an empty part of a repository", inInputs(push("source", prodHost+"//cart:1")), []string{`the repository "/cart" has an empty part`, "Is a variable empty?"}, nil},
	{"an empty repository of a target", inInputs(push("targets", devHost+"/:1")), []string{"has an empty repository", "Is a variable empty?"}, nil},
	{"an empty digest", inInputs(push("source", atCart+"@")), []string{"has an empty digest", "Is a variable empty?"}, nil},
	{"an empty tag in images", inFlowFile(inputs{"action": "invertedPush", "flow": "released", "images": "shop/cart:"}), []string{`"shop/cart:" has an empty tag`, "Is a variable empty?"}, nil},
	{"a tag that ends too soon", inInputs(push("source", atCart+":1.4-")), []string{"has no tag 1.4-", `The tag ends with "-": is a variable empty?`}, nil},

	{"a wrong tag", inInputs(push("source", atCart+":1.4.3")), []string{"it does not exist: the repository shop/cart has no tag 1.4.3", "Did you mean 1.4.2?"}, []string{"Check the names of registry, repository and tag"}},
	{"a tag in the wrong case", inRun(func(env *testEnv) outcome {
		pushImage(env.prod, cart, "Release", 2, 1, 512)
		return env.task(push("source", atCart+":release"))
	}), []string{"Did you mean Release? Tags are case-sensitive."}, nil},
	{"a tag like none", inInputs(push("source", atCart+":nightly")), []string{"has no tag nightly", "The repository has 1 tag, 1.4.2."}, []string{"Did you mean"}},
	{"a digest that does not exist", inInputs(push("source", atCart+"@"+testimage.Digest([]byte("none")))), []string{"the repository shop/cart has no manifest with this digest"}, nil},
	{"a wrong repository", inInputs(push("source", prodHost+"/shop/carts:1.4.2")), []string{"the registry does not know this repository", "This identity may not list the repositories"}, nil},
	{"a wrong repository of an identity that may list them", inRun(func(env *testEnv) outcome {
		env.prod.Grant(clientID, "**", sim.CatalogLister...)
		return env.task(push("source", prodHost+"/shop/carts:1.4.2"))
	}), []string{"the registry does not know this repository", "Did you mean shop/cart?"}, nil},
	{"a wrong tag of an identity that may not list tags", inRun(func(env *testEnv) outcome {
		env.prod.Revoke(clientID)
		env.prod.Grant(clientID, "**", "pull")
		return env.task(push("source", atCart+":1.4.3", "action", "promote", "targets", prodHost+"/"+cart+":stable"))
	}), []string{"whether the repository or the tag is missing is unknown", "may not list the tags of shop/cart"}, nil},
	{"a wrong tag outside Azure", atCNCF(cart + ":1.4.3"), []string{"the repository shop/cart has no tag 1.4.3", "Did you mean 1.4.2?"}, nil},
	{"a wrong repository outside Azure", atCNCF("shop/carts:" + release), []string{"the registry does not know this repository", "Did you mean shop/cart?"}, nil},
	{"a repository like none", atCNCF("base/alpine:3"), []string{"the registry does not know this repository", "Check the names of registry and repository"}, []string{"Did you mean", "may not list"}},

	{"a wildcard in the tag of source", inInputs(push("source", atCart+":1.*")), []string{`"1.*" is a pattern, but source is one image`, "write shop/cart:1.* in the input images"}, []string{"is not a valid tag"}},
	{"a wildcard alone", inInputs(push("source", atCart+":*")), []string{"write shop/cart:* in the input images"}, nil},
	{"a wildcard with a flow file", inFlowFile(push("source", atCart+":1.4.?", "targets", "")), []string{"write shop/cart:1.4.? in the input images"}, nil},

	{"two bad inputs", inInputs(push("source", atCart, "targets", "https://"+devHost+"\ndev")), []string{"has no tag or digest", `"https:" is not a valid registry host`, `"dev" is not a valid registry host`}, nil},
	{"bad inputs and a bad flow file", inFlowFile(push("source", atCart, "targets", "https://"+devHost), "trust: sandbox", "trust: sandbx"),
		[]string{"has no tag or digest", `"https:" is not a valid registry host`, `unknown trust level "sandbx"`}, nil},
	{"a bad boolean, a bad reference and a bad flow file", inFlowFile(push("source", atCart, "deep", "yes"), "trust: sandbox", "trust: sandbx"),
		[]string{`"yes" is neither true nor false`, "has no tag or digest", `unknown trust level "sandbx"`}, nil},
	{"a bad reference and a registry without a connection", inRun(func(env *testEnv) outcome {
		return env.task(push("source", atCart), connected("azureSubscription"))
	}), []string{"has no tag or digest", "no service connection is given for " + devHost}, nil},
	{"a bad image and a bad flow", inFlowFile(inputs{"action": "invertedPush", "flow": "relesed", "images": "shop/cart"}), []string{"Did you mean released?", "has neither tag nor digest"}, nil},

	{"an audit of an unreachable registry", inRun(func(env *testEnv) outcome {
		env.prodNetwork.Block(devHost)
		return env.task(inputs{"action": "audit", "source": source, "targets": devHost})
	}), []string{"cannot be reached", "0 of 1 target complete", "see below"}, []string{"incomplete", "nothing was written"}},
	{"an audit of a registry that refuses the connection", inRun(func(env *testEnv) outcome {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			env.t.Fatal(err)
		}
		closed := listener.Addr().String()
		listener.Close()
		prod := startRegistry(env.t)
		pushImage(prod, cart, release, 1, 1, 512)
		p := newPerson(env.t, map[string]string{prod.host: realUser + ":" + realPassword})
		return p.run("audit", "--source", prod.host+"/"+cart+":"+release, "--targets", closed, "--plain-http", prod.host, "--plain-http", closed, "--output", "json").wantCode(1)
	}), []string{"it refuses the connection", "0 of 1 target complete"}, []string{"incomplete"}},
	{"an audit that finds nothing of the image", audited(func(env *testEnv, image descriptor) {
		for _, d := range env.dev.Digests(cart) {
			env.dev.RemoveManifest(cart, d)
		}
	}), []string{"the tag does not exist; it should point at sha256:", "→ Run the step that copies the image again: it sends only what is missing. An audit writes nothing.", ": the image sha256:", "1 of 2 targets complete"},
		[]string{"attached application/vnd.oci.image.config", "run again for the others"}},
	{"an audit that finds layers missing", audited(func(env *testEnv, image descriptor) {
		for _, d := range env.dev.Blobs(cart) {
			env.dev.RemoveBlob(cart, d)
		}
	}), []string{": the configuration sha256:", ": the layer sha256:", "is missing → Run the step that copies", "is missing.\n", "1 of 2 targets complete"}, []string{"attached application/vnd.oci.image.config"}},
	{"an audit that finds another image", audited(func(env *testEnv, _ descriptor) { pushImage(env.dev, cart, release, 9, 1, 64) }),
		[]string{"the tag points at sha256:", " instead of sha256:", "→ Run the step that copies"}, nil},

	{"a bad credential outside Azure", outsideAt("wrong", nil), []string{"the registry does not accept user and password", "UNAUTHORIZED", "Check the credential of mirror.example in Docker's configuration (`docker login mirror.example`)"}, []string{"az acr", "AcrP", "registry connection"}},
	{"a right missing outside Azure", outsideAt("the-password-of-puller~1", func(_ *testEnv, _, target *sim.Registry) {
		target.Revoke("puller")
		target.Grant("puller", "**", "pull")
	}), []string{"access is denied", "that the user may pull from and push to shop/cart"}, []string{"AcrP", "Repository Writer"}},
	{"no credential outside Azure, in a pipeline", inRun(func(env *testEnv) outcome {
		env.outsideAzure()
		return env.task(push("targets", "mirror.example"))
	}), []string{"signing in anonymously", "Name a Docker registry connection for mirror.example in registryConnections."}, []string{rerunHint, "docker login"}},
	{"a bad credential outside Azure, in a pipeline", inRun(func(env *testEnv) outcome {
		env.outsideAzure()
		return env.task(push("targets", "mirror.example"), connected("registryConnections", env.project.DockerConnection("mirror", "mirror.example", "puller", "not-the-password~1")))
	}), []string{"the registry does not accept user and password", "Check user and password of the Docker registry connection for mirror.example"}, []string{"az acr", "docker login"}},

	{"no credential at a prompt", func(t *testing.T) outcome {
		t.Parallel()
		prod := startRegistry(t)
		o := newPerson(t, nil).run("audit", "--source", prod.host+"/"+cart+":"+release, "--targets", prod.host+"/"+cart+":2", "--plain-http", prod.host, "--output", "json")
		return o.says("Sign in with `docker login " + prod.host + "`.")
	}, []string{"it needs a user and password"}, []string{"registry connection"}},
	{"no credential at a prompt for a registry with tokens", outsideAt("", nil), []string{"signing in anonymously", "Sign in with `docker login mirror.example`."}, []string{"registry connection", rerunHint}},

	{"plain HTTP for a server of HTTPS", plainHTTP(tlsServer), []string{"it expects HTTPS, but was sent plain HTTP", "Remove 127.0.0.1:", "from --plain-http."}, []string{rerunHint, "was not expected"}},
	{"plain HTTP for an nginx", plainHTTP(saying("400 The plain HTTP request was sent to HTTPS port")), []string{"it expects HTTPS", "from --plain-http."}, nil},
	{"plain HTTP for an Apache", plainHTTP(saying("Reason: You're speaking plain HTTP to an SSL-enabled server port.")), []string{"it expects HTTPS", "from --plain-http."}, nil},
	{"another bad request", plainHTTP(saying("no")), nil, []string{"it expects HTTPS"}},

	{"an IPv6 address without brackets", inInputs(push("source", "::1/cart:1")), []string{`"::1" is not a valid registry host`, "Write an IPv6 address in brackets and without a zone"}, []string{"https://"}},
	{"an IPv6 address with a zone", inInputs(push("targets", "[fe80::1%eth0]:5000")), []string{"without a zone"}, nil},
	{"an IPv6 address that does not respond", inInputs(push("targets", "[2001:db8::1]:5000")), []string{"[2001:db8::1]:5000 cannot be reached"}, []string{"is not a valid registry host"}},

	{"a boolean as a second word", atPrompt(nil, "invertedPush", "--source", source, "--targets", devHost, "--dryRun", "yes"), []string{`--dryRun: "yes" is neither true nor false`, "Write --dryRun or --dryRun=true, or --dryRun=false."}, []string{"unexpected argument"}},
	{"a boolean as another word", atPrompt(nil, "invertedPush", "--deep", "1", "--source", source, "--targets", devHost), []string{`--deep: "1" is neither true nor false`}, nil},
	{"a word that belongs to no flag", atPrompt(nil, "invertedPush", "--source", source, "yes"), []string{`unexpected argument "yes"`}, []string{"neither true nor false"}},

	{"a variable in a flow file", inCheck("environment: Production", "environment: $(env)"), []string{"flows.yml:13:45: Azure Pipelines does not replace the variable $(env) in a flow file. Write the value itself."}, []string{"valid: 3"}},
	{"a variable in a host of a flow file", inCheck(devHost, "$(dev)"), []string{"does not replace the variable $(dev)"}, []string{"is not a valid registry host"}},
	{"a template expression in a flow file", inCheck(`["shop/**"]`, `["${{ parameters.repository }}"]`), []string{"does not replace the template expression ${{ parameters.repository }}"}, nil},
	{"a variable as the name of a flow", inCheck("released:", "$(flow):"), []string{"does not replace the variable $(flow)"}, nil},
	{"a variable in the flow file of a step", inFlowFile(push(), "environment: Production", "environment: $(env)"), []string{"does not replace the variable $(env) in a flow file"}, nil},

	{"a trust list in the wrong order", inCheck("trust: [sandbox, production]", "trust: [production, sandbox]"), []string{"the flow leads up from prod (trust production) to dev (trust sandbox)"}, nil},

	{"a broken Docker configuration", atPrompt(map[string]string{"config.json": "{"}, "audit", "--source", "registry.invalid/a:1", "--targets", "dev.invalid"),
		[]string{"Docker's configuration: ", "config.json is not valid: unexpected EOF", "Correct this file, or set DOCKER_CONFIG"}, []string{"service connection"}},
	{"a credential helper that is missing", atPrompt(map[string]string{"config.json": `{"credHelpers": {"registry.invalid": "absent"}}`}, "audit", "--source", "registry.invalid/a:1", "--targets", "dev.invalid"),
		[]string{"registry.invalid: the credential helper in Docker's configuration failed", "docker-credential-absent", "correct credHelpers and credsStore"}, []string{"service connection"}},
	{"an entry of Docker's configuration that is not valid", atPrompt(map[string]string{"config.json": `{"auths": {"registry.invalid": {"auth": "?"}}}`}, "audit", "--source", "registry.invalid/a:1", "--targets", "dev.invalid"),
		[]string{"Docker's configuration: ", "config.json"}, []string{"service connection"}},

	{"a registry connection for another host", inRun(func(env *testEnv) outcome {
		env.outsideAzure()
		return env.task(push("targets", "mirror.example"), connected("registryConnections", env.project.DockerConnection("mirror", "miror.example", "puller", "a-docker-password")))
	}), []string{"the registry connection for miror.example is not used: no registry of this step has this host. Did you mean mirror.example?"}, nil},
	{"a registry connection for another name of a registry", inRun(func(env *testEnv) outcome {
		flows := env.flowFile(strings.Replace(sandbox, "host: "+devHost, "host: "+devHost+", hosts: [contosodev.westeurope.geo.azurecr.io]", 1))
		return env.task(push("flowFile", flows, "targets", devHost), connected("registryConnections", env.project.DockerConnection("dev", "contosodev.westeurope.geo.azurecr.io", "puller", "a-docker-password")))
	}), []string{"the registry connection for contosodev.westeurope.geo.azurecr.io is not used: the step signs in to this registry as " + devHost}, nil},
	{"a registry connection for a registry of the flow file", inRun(func(env *testEnv) outcome {
		return env.task(push("flowFile", env.flowFile(sandbox), "targets", devHost), connected("registryConnections", env.project.DockerConnection("web", dev2Host, "puller", "a-docker-password")))
	}), nil, []string{"is not used"}},

	{"manifests without an image of the source", withManifests("contosoprd.azurecr.io/shop/cart:1.4.2"),
		[]string{"no image of registry contosoprod.azurecr.io found", "Only images of the flow's source count. 1 other image was found: ", "Did you mean contosoprod.azurecr.io instead of contosoprd.azurecr.io?"}, []string{"There are 1"}},
	{"manifests with images of Docker Hub alone", withManifests("nginx:1", "redis:7"), []string{"2 other images were found, such as", "it is on Docker Hub"}, []string{"Did you mean"}},
	{"manifests with a variable", withManifests(atCart + ":$(tag)"), []string{"does not replace the variable $(tag) in the file", "Render the manifests first."}, nil},

	{"no identity at a prompt", func(t *testing.T) outcome {
		env := newTestEnv(t)
		p := env.atPrompt(nil)
		p.environ = append(p.environ, "AZURE_TOKEN_CREDENTIALS=dev")
		o := p.run("audit", "--source", source, "--targets", devHost+"\n"+dev2Host, "--output", "json").wantCode(1)
		if n := len(o.at("errors").([]any)); n != 1 {
			t.Errorf("%d errors, want one:\n%s", n, o.against())
		}
		return o
	}, []string{"no source of an identity works. Azure CLI (az): executable not found on path. Azure Developer CLI (azd): ", "Sign in (az login)"}, []string{"DefaultAzureCredential", "--plain-http"}},

	{"an invalid manifest", inResponses(refusesManifest(400, `{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid"}]}`)), []string{"the registry does not accept the manifest", "Rebuild the image in a current format"}, []string{rerunHint, "a rerun completes it"}},
	{"a push that is denied", inRun(func(env *testEnv) outcome {
		env.dev.Revoke(clientID)
		env.dev.Grant(clientID, "**", "pull", "metadata_read")
		return env.task(push())
	}), []string{"access is denied", "Container Registry Repository Writer"}, []string{rerunHint, "a rerun completes it"}},
	{"an unknown refusal", inResponses(refusesManifest(422, "policy")), []string{"422", "Correct what contosodev.azurecr.io names, or ask its administrators. Running the step again does not help."}, []string{rerunHint}},
	{"a failure that a rerun may mend", inResponses(refusesManifest(500, "")), []string{"500"}, []string{"does not help"}},

	{"a generic error with a detail", inResponses(refusesManifest(400, `{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"policy":"no critical vulnerabilities"}},{"code":"DENIED","message":"blocked by policy"}]}`)),
		[]string{"UNKNOWN: unknown error [policy no critical vulnerabilities]; DENIED: blocked by policy", "Running the step again does not help."}, []string{rerunHint}},
	{"a detail that is a list", inResponses(refusesManifest(400, `{"errors":[{"code":"UNKNOWN","detail":["a","b"]}]}`)), []string{"UNKNOWN [a, b]"}, nil},

	{"a redirect on opening an upload", inResponses(sim.Fault{Host: devHost, Method: "POST", Path: "/blobs/uploads/", Times: sim.Always, Do: sim.Status(307, "Location", "https://uploads.example/v2/shop/cart/blobs/uploads/?sig=a-signature")}),
		[]string{"redirects the upload to another host (https://uploads.example), to which nothing is sent"}, []string{"a-signature"}},

	{"a tag that would move", inRun(func(env *testEnv) outcome {
		pushImage(env.dev, cart, release, 9, 1, 64)
		return env.task(push())
	}), []string{"refused   → ", "tag stays at sha256:", "and would be moved to"}, []string{"moved from", "rollback: tag"}},

	{"a seal by an identity with push alone", func(t *testing.T) outcome {
		env := newTestEnv(t)
		pushImage(env.prod, cart, release, 1, 2, 2048)
		env.prod.Revoke(clientID)
		env.prod.Grant(clientID, "**", "pull", "push")
		env.stage.Begin()
		return env.task(inputs{"action": "seal", "source": source})
	}, []string{"contosoprod.azurecr.io: reading the attributes of shop/cart:1.4.2 failed", "Container Registry Repository Writer"}, []string{"Repository Reader", "contosoprod.azurecr.io: contosoprod.azurecr.io"}},

	{"a manifest over the limit", func(t *testing.T) outcome {
		env := newTestEnv(t)
		env.prod.Push(cart, "big", testimage.ManifestType, fmt.Appendf(nil, `{"schemaVersion":2,"annotations":{"a":%q}}`, strings.Repeat("a", 4<<20)))
		env.approve(manager, "")
		return env.task(push("source", atCart+":big"))
	}, []string{"the manifest is longer than 4 MiB", "Running the step again does not help."}, []string{"4194304", rerunHint}},
}

// TestMistakes makes each mistake through the front door.
func TestMistakes(t *testing.T) {
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			o := m.do(t)
			said := o.against() + strings.Join(o.warnings, "\n") + o.stderr
			if !strings.HasPrefix(o.stdout, "{") {
				said += o.stdout
			}
			for _, want := range m.says {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q:\n%s", want, said)
				}
			}
			for _, not := range m.never {
				if strings.Contains(said, not) {
					t.Errorf("it says %q:\n%s", not, said)
				}
			}
		})
	}
}

// TestIPv6Registry copies between registries at IPv6 addresses.
func TestIPv6Registry(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6")
	}
	listener.Close()
	prod, dev := startRegistryAt(t, "::1"), startRegistryAt(t, "::1")
	image := pushImage(prod, cart, release, 1, 2, 2048)
	login := realUser + ":" + realPassword
	p := newPerson(t, map[string]string{prod.host: login, dev.host: login})
	p.run("invertedPush", "--source", prod.host+"/"+cart+":"+release, "--targets", dev.host, "--approval", "none", "--plain-http", prod.host, "--plain-http", dev.host, "--output", "json").wantCode(0).wantStates("copied")
	if got := dev.digest(cart, release); got != image.Digest {
		t.Errorf("the tag points to %q", got)
	}
	// Another form of the same address is the same registry.
	other := strings.Replace(prod.host, "[::1]", "[0:0::1]", 1)
	p.run("audit", "--source", other+"/"+cart+":"+release, "--targets", dev.host, "--plain-http", other, "--plain-http", dev.host, "--output", "json").wantCode(0)
}
