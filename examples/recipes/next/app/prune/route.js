import { prune } from '../../prune.js';

export const dynamic = 'force-dynamic';

export async function GET() {
  return Response.json(await prune('model.onnx'));
}
