package testca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestServer(t *testing.T) {
	ca, err := New()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", ca.ServerConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	address := listener.Addr().String()
	for _, host := range []string{"prod.azurecr.io", "dev.azure.com", "127.0.0.1"} {
		c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: ca.Pool(), ServerName: host})
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		c.Close()
	}
	_, err = tls.Dial("tcp", address, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "prod.azurecr.io"})
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("a client that does not trust the CA gets %v", err)
	}
}

func TestCertificateIsForOneHost(t *testing.T) {
	ca, err := New()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Certificate("prod.azurecr.io")
	if err != nil {
		t.Fatal(err)
	}
	again, err := ca.Certificate("prod.azurecr.io")
	if err != nil || again != issued {
		t.Errorf("issued twice: %v", err)
	}
	leaf, err := x509.ParseCertificate(issued.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.VerifyHostname("dev.azurecr.io"); err == nil {
		t.Error("the certificate is valid for another host")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca.PEM()) || !pool.Equal(ca.Pool()) {
		t.Error("the PEM is not the CA's certificate")
	}
	other, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	address, err := x509.ParseCertificate(other.Certificate[0])
	if err != nil || len(address.IPAddresses) != 1 || !address.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)) || address.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
		t.Errorf("the certificate of an address has %v and the serial number %v: %v", address.IPAddresses, address.SerialNumber, err)
	}
}

func TestServe(t *testing.T) {
	ca, err := New()
	if err != nil {
		t.Fatal(err)
	}
	unknown := make(chan string, 1)
	address, server, err := ca.Serve(func(host string) http.HandlerFunc {
		if host == "gone.example" {
			return nil
		}
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, host) }
	}, func(r *http.Request) { unknown <- r.Host })
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	client := &http.Client{Transport: transport}
	for _, host := range []string{"Prod.azurecr.io", "dev.azure.com:8443"} {
		resp, err := client.Get("https://" + host + "/")
		if err != nil {
			t.Fatal(err)
		}
		served, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want, _, _ := strings.Cut(strings.ToLower(host), ":"); string(served) != want {
			t.Errorf("%s was served as %q", host, served)
		}
	}
	resp, err := client.Get("https://gone.example/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if host := <-unknown; host != "gone.example" {
		t.Errorf("the unknown host is %q", host)
	}
	server.Close()
	transport.CloseIdleConnections()
	if _, err := client.Get("https://prod.azurecr.io/"); err == nil {
		t.Error("the server still serves")
	}
}
