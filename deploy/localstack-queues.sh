#!/bin/sh
# LocalStack runs this once it is ready: the queue of events, and the one of dead letters.
set -eu
awslocal sqs create-queue --queue-name shop-events-dead
awslocal sqs create-queue --queue-name shop-events --attributes \
  '{"RedrivePolicy": "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:shop-events-dead\", \"maxReceiveCount\": \"5\"}"}'
