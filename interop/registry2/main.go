// Registry2 is the registry of github.com/docker/distribution 2.8, the generation
// before the CNCF registry. It has no referrers API and ignores subjects. That
// release predates Go modules, and go install cannot build its own program. This one
// serves its handlers, storage and authentication, as they were released.
//
//	registry2 serve FILE    serve according to a configuration file
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/docker/distribution/configuration"
	"github.com/docker/distribution/registry/handlers"

	_ "github.com/docker/distribution/registry/auth/htpasswd"
	_ "github.com/docker/distribution/registry/storage/driver/filesystem"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "registry2:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	if len(args) != 2 || args[0] != "serve" {
		return fmt.Errorf("usage: registry2 serve FILE")
	}
	file, err := os.Open(args[1])
	if err != nil {
		return err
	}
	defer file.Close()
	config, err := configuration.Parse(file)
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	server := &http.Server{
		Addr:              config.HTTP.Addr,
		Handler:           handlers.NewApp(context.Background(), config),
		ReadHeaderTimeout: time.Minute,
	}
	return server.ListenAndServe()
}
