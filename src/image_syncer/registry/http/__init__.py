"""HTTP/1.1: messages, our socket client, and the aiohttp transport for everything else."""
