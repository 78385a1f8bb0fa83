module goclient

go 1.24

require github.com/Meonako/webui-api v0.5.1

require github.com/goccy/go-json v0.10.0 // indirect
