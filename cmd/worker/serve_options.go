package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sdworker/api/gate"
	"sdworker/api/jobs"
	"sdworker/internal/cli"
)

// serverSettings are the settings of the HTTP server, named as A1111's flags where it
// has them.
type serverSettings struct {
	Addr          string        `env:"ADDR" envDefault:"127.0.0.1:7860" doc:"host:port to listen on; port 0 takes a free one and prints it"`
	TLSCert       string        `env:"TLS_CERTFILE" doc:"PEM file with the certificate; with it the server speaks HTTPS"`
	TLSKey        string        `env:"TLS_KEYFILE" doc:"PEM file with the certificate's key"`
	ShutdownGrace time.Duration `env:"SHUTDOWN_GRACE" envDefault:"25s" doc:"time that requests in hand have to finish after Ctrl-C or SIGTERM"`

	AllowedHosts []string `env:"ALLOWED_HOSTS" doc:"host names that the server answers for beside localhost, addresses and this machine's name, such as that of a reverse proxy, separated by commas, * = all; without it every name when others than this machine can reach the server"`

	Port       int `env:"PORT" doc:"listen on this port of every interface instead of ADDR; RunPod sets it for load-balancing endpoints, which ask GET /ping"`
	PortHealth int `env:"PORT_HEALTH" doc:"another port for GET /ping"`
}

func (s *serverSettings) settings() cli.Settings {
	return cli.Settings{Title: "Server:", Target: s, Environment: true}
}

func (s *serverSettings) Validate() []error {
	var errs []error
	if (s.TLSCert == "") != (s.TLSKey == "") {
		errs = append(errs, errors.New("TLS_CERTFILE and TLS_KEYFILE belong together, only one is set"))
	} else if _, err := s.tlsConfig(); err != nil {
		errs = append(errs, err)
	}
	if s.ShutdownGrace < 0 {
		errs = append(errs, fmt.Errorf("SHUTDOWN_GRACE is %s, it must not be negative", s.ShutdownGrace))
	}
	if _, port, err := net.SplitHostPort(s.Addr); err != nil {
		errs = append(errs, fmt.Errorf("ADDR %q is not host:port", s.Addr))
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		errs = append(errs, fmt.Errorf("ADDR %q has no port between 0 and 65535", s.Addr))
	}
	for name, port := range map[string]int{"PORT": s.Port, "PORT_HEALTH": s.PortHealth} {
		if port < 0 || port > 65535 {
			errs = append(errs, fmt.Errorf("%s is %d, a port is 1 to 65535", name, port))
		}
	}
	return errs
}

// tlsConfig is nil for plain HTTP.
func (s *serverSettings) tlsConfig() (*tls.Config, error) {
	if s.TLSCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("the certificate of TLS_CERTFILE and TLS_KEYFILE cannot be used: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

func (s *serverSettings) addr() string {
	if s.Port != 0 {
		return net.JoinHostPort("", strconv.Itoa(s.Port))
	}
	return s.Addr
}

// beyond tells whether others than this machine can reach the server.
func (s *serverSettings) beyond() bool {
	host, _, err := net.SplitHostPort(s.addr())
	if err != nil || host == "localhost" {
		return err != nil
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback()
}

// accessSettings are the settings of the API that only a server needs.
type accessSettings struct {
	Auth        string   `env:"API_AUTH" secret:"true" doc:"user:password pairs for HTTP Basic, separated by commas"`
	AuthAll     string   `env:"API_AUTH_ALL" doc:"true: API_AUTH also guards the routes that A1111 leaves open to everyone (ControlNet, loras, /internal with the previews of others, sysinfo), false: as in A1111; without it true when others than this machine can reach the server"`
	Token       string   `env:"API_TOKEN" secret:"true" doc:"accept this bearer token"`
	CORSOrigins []string `env:"CORS_ALLOW_ORIGINS" doc:"origins whose pages may call the API, separated by commas, * = all"`
	CORSPattern string   `env:"CORS_ALLOW_ORIGINS_REGEX" doc:"regular expression of further such origins"`
	ServerStop  bool     `env:"API_SERVER_STOP" doc:"let clients stop the server"`
}

// webhookSettings are about messages of jobs to addresses that clients name.
type webhookSettings struct {
	Secret  string `env:"WEBHOOK_SECRET" secret:"true" doc:"whsec_ and 24 to 64 bytes in base64, which sign the messages about the ends of jobs (standardwebhooks.com); without it jobs take no webhook"`
	Private bool   `env:"WEBHOOK_PRIVATE" doc:"let jobs name webhooks at private addresses, and with http"`
}

func (w *webhookSettings) settings() cli.Settings {
	return cli.Settings{Title: "Webhooks of jobs:", Target: w, Environment: true}
}

func (w *webhookSettings) Validate() []error {
	if w.Secret == "" {
		return nil
	}
	if _, err := jobs.ParseSecret(w.Secret); err != nil {
		return []error{fmt.Errorf("WEBHOOK_SECRET: %w", err)}
	}
	return nil
}

// webhooks are the settings for the jobs.
func (w *webhookSettings) webhooks() jobs.Webhooks {
	secret, _ := jobs.ParseSecret(w.Secret) // none without one; Validate has told of others
	return jobs.Webhooks{Secret: secret, Private: w.Private}
}

func (a *accessSettings) settings() cli.Settings {
	return cli.Settings{Title: "Access:", Target: a, Environment: true}
}

func (a *accessSettings) Validate() []error {
	var errs []error
	if _, err := a.users(); err != nil {
		errs = append(errs, err)
	}
	if _, err := regexp.Compile(a.CORSPattern); err != nil {
		errs = append(errs, fmt.Errorf("CORS_ALLOW_ORIGINS_REGEX: %w", err))
	}
	if _, err := strconv.ParseBool(a.AuthAll); err != nil && a.AuthAll != "" {
		errs = append(errs, fmt.Errorf("API_AUTH_ALL is %q, it must be true or false", a.AuthAll))
	}
	return errs
}

func (a *accessSettings) users() (map[string]string, error) {
	if a.Auth == "" {
		return nil, nil
	}
	users := map[string]string{}
	for pair := range strings.SplitSeq(a.Auth, ",") {
		user, password, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if !ok || user == "" {
			return nil, errors.New("API_AUTH must be user:password, several separated by commas")
		}
		users[user] = password
	}
	return users, nil
}

// policy is what the settings say about who may call. beyond tells whether others
// than this machine can reach the server.
func (a *accessSettings) policy(maxBody int64, beyond bool) gate.Policy {
	users, _ := a.users() // validate has complained
	p := gate.Policy{
		Credentials: gate.Credentials{Users: users, Token: a.Token}, AuthAll: beyond,
		Origins: gate.Origins{List: a.CORSOrigins}, MaxBody: maxBody,
	}
	if a.AuthAll != "" {
		p.AuthAll, _ = strconv.ParseBool(a.AuthAll)
	}
	if a.CORSPattern != "" {
		p.Origins.Pattern = regexp.MustCompile(a.CORSPattern)
	}
	return p
}
