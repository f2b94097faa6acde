package agent

import "strings"

// example is a command line, with what it does.
type example struct{ about, command string }

// examples has the examples of each action, and under "" those of the whole help.
var examples = map[string][]example{
	"": {
		{"What would be released, and what the approval has to be", "acrpromote plan --source <prod>.azurecr.io/shop/cart:1.4.2 \\\n  --targets <dev>.azurecr.io --environment Production"},
		{"Whether a flow file is valid", "acrpromote check flows.yml"},
		{"What a rule means, and what to do", "acrpromote help approval-unbound"},
	},
	Seal: {
		{"Seal a release candidate, and show what to approve", "acrpromote seal --source <prod>.azurecr.io/shop/cart:1.4.2"},
		{"Lock the manifests against pushes, too", "acrpromote seal --source <prod>.azurecr.io/shop/cart:1.4.2 --lock image"},
	},
	Promote: {
		{"Move the tag stage, at a prompt outside any run", "acrpromote promote --approval none --moveTag \\\n  --source <prod>.azurecr.io/shop/cart:1.4.2 \\\n  --targets <prod>.azurecr.io/shop/cart:stage"},
		{"What a flow would do and require", "acrpromote promote --dryRun --flowFile flows.yml --flow environments \\\n  --source <prod>.azurecr.io/shop/cart:1.4.2 \\\n  --targets <prod>.azurecr.io/shop/cart:stage"},
	},
	InvertedPush: {
		{"What would be copied, without an approval", "acrpromote invertedPush --dryRun --approval none \\\n  --source <prod>.azurecr.io/shop/cart:1.4.2 --targets <dev>.azurecr.io"},
		{"A set of images, by the rules of a flow", "acrpromote invertedPush --dryRun --flowFile flows.yml --flow released \\\n  --images 'shop/*:1.4.2'"},
	},
	Plan: {
		{"What would be released, and what the approval has to be", "acrpromote plan --source <prod>.azurecr.io/shop/cart:1.4.2 \\\n  --targets <dev>.azurecr.io --environment Production --minApprovers 2"},
		{"The same by a flow file, as JSON", "acrpromote plan --flowFile flows.yml \\\n  --source <prod>.azurecr.io/shop/cart:1.4.2 --output json"},
	},
	Verify: {
		{"Whether the image is sealed", "acrpromote verify --source <prod>.azurecr.io/shop/cart:1.4.2"},
		{"Whether it would be released once it is approved", "acrpromote verify --approval none \\\n  --source <prod>.azurecr.io/shop/cart:1.4.2 --targets <dev>.azurecr.io"},
	},
	Audit: {
		{"Whether an image has arrived, with every blob", "acrpromote audit --deep \\\n  --source <prod>.azurecr.io/shop/cart:1.4.2 --targets <dev>.azurecr.io"},
		{"Whether anything that a flow has released has drifted, as JSON", "acrpromote audit --flowFile flows.yml --flow released --output json"},
	},
	VerifyReceipt: {
		{"Whether the image was approved for production", "acrpromote verifyReceipt --source <dev>.azurecr.io/shop/cart:1.4.2 \\\n  --receiptKeys receipts.pem --environment Production --minApprovers 2"},
		{"By a key in Key Vault, and only from the PROD registry", "acrpromote verifyReceipt --source <dev>.azurecr.io/shop/cart:1.4.2 \\\n  --receiptKeys https://<vault>.vault.azure.net/keys/receipts \\\n  --from <prod>.azurecr.io/shop/cart --rules verified"},
	},
	Trace: {
		{"An image's life in two registries", "acrpromote trace <prod>.azurecr.io/shop/cart:1.4.2 \\\n  --targets <dev>.azurecr.io --receiptKeys receipts.pem"},
		{"All that a run has released, as JSON", "acrpromote trace --run 4711 --targets <dev>.azurecr.io/shop/cart \\\n  --receiptKeys receipts.pem --output json"},
	},
	Recall: {
		{"What would be withdrawn where", "acrpromote recall <prod>.azurecr.io/shop/cart:1.4.2 --dryRun --approval none \\\n  --targets <dev>.azurecr.io --reason 'CVE-2026-1234'"},
		{"Withdraw it at a prompt outside any run", "acrpromote recall <prod>.azurecr.io/shop/cart:1.4.2 --approval none \\\n  --targets <dev>.azurecr.io --reason 'CVE-2026-1234'"},
	},
	Doctor: {
		{"Whether the registries of a flow file are set up as its flows need", "acrpromote doctor --flowFile flows.yml"},
		{"Two registries, without a flow file, as JSON", "acrpromote doctor --source <prod>.azurecr.io --targets <dev>.azurecr.io \\\n  --failOn medium --output json"},
	},
	Check: {
		{"Check the flow file of this folder", "acrpromote check flows.yml"},
		{"The same for programs: problems with line and column", "acrpromote check flows.yml --output json"},
	},
	Code: {
		{"The code of one image", "acrpromote code \\\n  sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"The code of a plan, computed again from its result.json", "acrpromote code result.json --output json"},
	},
	Report: {
		{"JUnit XML of the jobs of a run", "acrpromote report part-1.json part-2.json --junit > tests.xml"},
		{"A flow file's mistakes, from check --output json, for code scanning", "acrpromote report check.json --sarif > flows.sarif"},
	},
	Init: {
		{"Answer questions", "acrpromote init"},
		{"Give all answers", "acrpromote init --folder release --production <prod>.azurecr.io \\\n  --development <dev>.azurecr.io --repositories 'shop/**' --minApprovers 2"},
		{"A tag for each environment", "acrpromote init --production <prod>.azurecr.io \\\n  --movingTags test,stage,production"},
	},
	Completion: {
		{"bash, in ~/.bashrc", "source <(acrpromote completion bash)"},
		{"zsh, in ~/.zshrc after compinit", "source <(acrpromote completion zsh)"},
		{"fish", "acrpromote completion fish > ~/.config/fish/completions/acrpromote.fish"},
		{"PowerShell, in $PROFILE", "acrpromote completion powershell | Out-String | Invoke-Expression"},
	},
	Help: {
		{"One action, with its flags", "acrpromote help invertedPush"},
		{"A rule that was not met", "acrpromote help approval-unbound"},
		{"An outcome", "acrpromote help partial"},
	},
	Version: {
		{"The version", "acrpromote version"},
	},
}

// steps has the inputs of an example step of each action of the task.
var steps = map[string]string{
	Seal: `azureSubscription: build-identity
source: <prod>.azurecr.io/shop/cart:$(Build.BuildNumber)`,
	Promote: `azureSubscription: release-identity
source: <prod>.azurecr.io/shop/cart:$(Build.BuildNumber)
targets: <prod>.azurecr.io/shop/cart:stage
environment: stage
moveTag: true`,
	InvertedPush: `azureSubscription: release-reader
targetSubscription: dev-writer
source: <prod>.azurecr.io/shop/cart:$(Build.BuildNumber)
targets: <dev>.azurecr.io
environment: Production`,
	Plan: `azureSubscription: plan-identity
source: <prod>.azurecr.io/shop/cart:$(Build.BuildNumber)
targets: <dev>.azurecr.io
environment: Production`,
	Verify: `azureSubscription: release-reader
targetSubscription: dev-writer
source: <prod>.azurecr.io/shop/cart:$(Build.BuildNumber)
targets: <dev>.azurecr.io
environment: Production`,
	Audit: `azureSubscription: release-reader
targetSubscription: dev-reader
source: <prod>.azurecr.io/shop/cart:$(Build.BuildNumber)
targets: <dev>.azurecr.io`,
	VerifyReceipt: `azureSubscription: dev-reader
source: <dev>.azurecr.io/shop/cart:$(Build.BuildNumber)
receiptKeys: receipts.pem
project: release
environment: Production`,
	Doctor: `azureSubscription: doctor-reader
flowFile: release-rules@refs/heads/main:flows.yml`,
	Trace: `azureSubscription: release-reader
targetSubscription: dev-reader
source: <prod>.azurecr.io/shop/cart:$(Build.BuildNumber)
targets: <dev>.azurecr.io
receiptKeys: receipts.pem`,
	Recall: `azureSubscription: release-writer
targetSubscription: dev-writer
source: <prod>.azurecr.io/shop/cart:1.4.2
flowFile: release-rules@refs/heads/main:flows.yml
environment: Recall
reason: $(reason)`,
	Check: `flowFile: flows.yml`,
}

// writeExamples writes the examples of an action and, for actions of the task,
// that of a step.
func writeExamples(b *strings.Builder, action string) {
	b.WriteString("\nExamples\n")
	for _, e := range examples[action] {
		b.WriteString("  # " + e.about + "\n")
		for line := range strings.SplitSeq(e.command, "\n") {
			b.WriteString("  " + line + "\n")
		}
	}
	if inputs := steps[action]; inputs != "" {
		b.WriteString("\nIn a pipeline\n  - task: AcrPromote@1\n    inputs:\n      action: " + action + "\n")
		for line := range strings.SplitSeq(inputs, "\n") {
			b.WriteString("      " + line + "\n")
		}
	}
}
