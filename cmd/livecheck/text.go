package main

import (
	_ "embed"
	"strings"
)

// The texts that are printed for a person to use. PREFIX stands for the prefix.
var (
	//go:embed setup.txt
	setupText string
	//go:embed pipeline.txt
	pipelineText string
	//go:embed teardown.txt
	teardownText string
)

func fill(text, prefix string) string { return strings.ReplaceAll(text, "PREFIX", prefix) }
