#!/bin/sh
# Makes keys, certificates and the ssl.config of a server, with an authority of your own; for trials and closed networks.
#   sh make_certificates.sh FOLDER [HOST ...]
# HOST are the names and addresses by which clients reach the server; localhost and 127.0.0.1 if none is given.
# Servers take FOLDER/ssl.config (--ssl_config_file), clients take FOLDER/ca.pem (--ca_certificate). client.key and
# client.pem are for clients of a server whose ssl.config says client_verify: true.
set -eu
umask 077
folder=${1:?"usage: sh make_certificates.sh FOLDER [HOST ...]"}
shift
[ $# -gt 0 ] || set -- localhost 127.0.0.1
[ ! -e "$folder/ssl.config" ] || { echo "error: $folder/ssl.config exists; expected a new folder" >&2; exit 1; }
mkdir -p "$folder"
cd "$folder"

names=
for host in "$@"; do
  case $host in
    *:*) kind=IP ;;
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
  esac
  names="${names:+$names,}$kind:$host"
done

openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -keyout ca.key -out ca.pem -subj "/CN=alexnet authority" 2>openssl.log

# signed NAME EXTENSION ...: NAME.key, and NAME.pem signed by the authority.
signed() {
  name=$1
  shift
  printf '%s\n' "$@" >"$name.ext"
  openssl req -newkey rsa:3072 -nodes -keyout "$name.key" -out "$name.csr" -subj "/CN=alexnet $name" 2>>openssl.log
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -out "$name.pem" \
    -extfile "$name.ext" 2>>openssl.log
  rm "$name.csr" "$name.ext"
}
signed server "subjectAltName=$names" "extendedKeyUsage=serverAuth"
signed client "extendedKeyUsage=clientAuth"

quoted() { awk '{ printf "  \"%s\\n\"\n", $0 }' "$1"; }
{
  echo "server_key:"
  quoted server.key
  echo "server_cert:"
  quoted server.pem
  echo "custom_ca:"
  quoted ca.pem
  echo "client_verify: false"
} >ssl.config
rm -f ca.srl openssl.log
echo "wrote ssl.config (for the server) and ca.pem (for its clients) in $folder, for $names"
