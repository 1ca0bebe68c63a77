#!/bin/bash
# A short, harmless attack: every file lies in the folder $1, every connection goes to the loopback address $2:$3.
scratch=$1 address=$2 port=$3
cd "$scratch" || exit 1

# An intruder unpacks two tools: one whose hash is to be blocked, one that is only watched.
mkdir -p bin cron.d
cp stage/payload bin/payload
cp stage/implant bin/implant
chmod 755 bin/payload bin/implant

bin/payload && echo "payload: ran" || echo "payload: refused"
bin/implant 120 &

# It calls home, ...
exec 3<>"/dev/tcp/$address/$port" && echo "beacon: connected" || echo "beacon: refused"
exec 3>&-

# ... runs a shell that it hides in base64, ...
echo "aWQgPiAvZGV2L251bGw7IHVuYW1lIC1hID4gL2Rldi9udWxsOyBlY2hvICJkZWNvZGVkIHNoZWxsOiByYW4iCg==" | base64 -d | bash

# ... and means to come back.
echo "* * * * * root $scratch/bin/implant" > cron.d/updater
echo "cron entry: written"
wait
